-- The smallest safe transfer, for pgbench: what is left of a ledger when everything goes that it could do without. One transaction
-- (all between two syncs of the protocol is one) in one round trip; the accounts are taken in one order, so that two transfers
-- never wait for each other. The guard is the table's CHECK: nothing after the COMMIT could look at what an UPDATE found.
\set a random(1, :accounts)
\set b random(1, :accounts - 1)
\set b :b + case when :b >= :a then 1 else 0 end
\set first least(:a, :b)
\set second greatest(:a, :b)
\set units case when random(0, 1) = 0 then 1 else -1 end
\set minus - :units
\set reference random(1, 9223372036854775806)
\startpipeline
UPDATE accounts SET balance = balance + :minus WHERE id = :first;
UPDATE accounts SET balance = balance + :units WHERE id = :second;
INSERT INTO transactions (reference) VALUES (:reference);
INSERT INTO postings (account, reference, amount) VALUES (:first, :reference, :minus), (:second, :reference, :units);
\endpipeline
