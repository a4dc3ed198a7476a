"""The demo, on real photos.  Zone: TRUSTED.  It runs on the owner's side and sees the pictures."""
