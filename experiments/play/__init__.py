"""``reverie play``: a web page on which a run plays, with an inspection of its parts."""
