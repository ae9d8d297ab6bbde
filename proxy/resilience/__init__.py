"""What becomes of failures: retries, accrual, health checks, limits of time, and faults on purpose."""
