"""Where the records of an account live, and how they are found."""
