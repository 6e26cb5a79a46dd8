"""Many calls at once: what is asked, who may start, and the iterator of what becomes of each."""
