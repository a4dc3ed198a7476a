"""`blindsight search`, and its page."""
