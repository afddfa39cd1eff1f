-- Sessions of signed-in users have indexes of their own, so that neither listing
-- them nor sweeping them depends on how many anonymous sessions there are.

DROP INDEX gatehouse_session_due;

CREATE INDEX gatehouse_session_due_anonymous ON gatehouse_session (due) WHERE owner IS NULL;

CREATE INDEX gatehouse_session_due_signed_in ON gatehouse_session (due) WHERE owner IS NOT NULL;

CREATE INDEX gatehouse_session_signed_in ON gatehouse_session (number) WHERE owner IS NOT NULL;
