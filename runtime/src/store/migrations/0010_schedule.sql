-- Order: what an event has in common with those that wait for it. One that is held until those before it are over is
-- due at the greatest integer; settling the first of a key makes the next one due.
ALTER TABLE retries ADD COLUMN order_key INTEGER;
CREATE INDEX retries_by_order ON retries (destination, order_key, delivery) WHERE order_key IS NOT NULL;

-- The value of events that a connection keeps in order; none: no order.
ALTER TABLE connections ADD COLUMN ordered_by TEXT;

-- The customer's own limit, as JSON; none: only the partner's.
ALTER TABLE destinations ADD COLUMN rate TEXT;
