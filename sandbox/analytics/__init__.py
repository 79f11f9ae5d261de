"""What Klaviyo counts: analytics reports and metric aggregates."""
