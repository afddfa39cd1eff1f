-- Sessions that have an owner, in the order in which they are listed. Not by owner:
-- one that changes meanwhile would move to where the list was, or has yet to come.
CREATE INDEX session_signed_in ON gatehouse.session (id) WHERE owner <> '';
