"""What `volition.data.verify` looks at: one module a subject, one small function a check, each returning a Finding."""
