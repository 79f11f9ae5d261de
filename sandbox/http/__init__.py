"""HTTP: requests, their checks, and the answers to them."""
