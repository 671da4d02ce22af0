"""Questions about the pictures of the embedded world, one function a skill."""
