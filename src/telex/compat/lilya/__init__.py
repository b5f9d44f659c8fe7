"""Lilya."""
