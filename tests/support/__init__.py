"""What tests of real services share."""
