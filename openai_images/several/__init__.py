"""One call for many pictures: the requests it is shared out over, run at once and put together again."""
