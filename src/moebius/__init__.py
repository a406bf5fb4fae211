"""Take things out of photos, and fill holes in them."""
