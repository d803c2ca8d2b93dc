"""Interfaces of other libraries, answered by GraphHand: a script for one of them changes its imports alone."""
