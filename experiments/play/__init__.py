"""``reverie play``: a page in the browser on which a run plays, and shows what is inside it."""
