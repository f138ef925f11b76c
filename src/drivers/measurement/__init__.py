"""Finding sources on an image and measuring them."""
