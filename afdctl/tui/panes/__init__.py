"""Each part of the screen: pure functions of facts and size."""
