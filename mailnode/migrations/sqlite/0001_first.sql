-- Everything the nodes share. The same tables stand in ../postgresql and ../mysql: numbers are
-- 64-bit, times are microseconds since 1970 UTC, there is no boolean and no type that one of the
-- three would read another way. A step that follows only adds; what it makes superfluous is taken
-- away by the step after it: the program before this step runs beside the one after it.

-- One row: which cluster this is. The same id stands in the file store's marker.
CREATE TABLE cluster (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    uuid       TEXT    NOT NULL,
    created_us BIGINT  NOT NULL
);

-- Each server that was ever written to, in turn: what has a lower number was demoted.
CREATE TABLE generations (
    generation BIGINT PRIMARY KEY,
    server     TEXT   NOT NULL, -- system identifier and timeline, or server id
    began_us   BIGINT NOT NULL
);

-- Numbers that only ever grow.
CREATE TABLE counters (
    name  TEXT   PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('uidvalidity', 0), ('confirmed', 0);

-- What is equal on all nodes.
CREATE TABLE settings (
    name       TEXT   PRIMARY KEY,
    value      TEXT   NOT NULL,
    changed_us BIGINT NOT NULL,
    changed_by TEXT   NOT NULL DEFAULT ''
);

-- What any one node does now and then for all: the one whose UPDATE moves due_us does it.
CREATE TABLE chores (
    name   TEXT   PRIMARY KEY,
    due_us BIGINT NOT NULL
);
INSERT INTO chores (name, due_us) VALUES ('sweep', 0);

CREATE TABLE nodes (
    name         TEXT   PRIMARY KEY,
    epoch        BIGINT NOT NULL, -- counts its starts; what an earlier start held is void
    process      TEXT   NOT NULL, -- machine boot, pid space, pid and start time of the run
    started_us   BIGINT NOT NULL,
    heartbeat_us BIGINT NOT NULL  -- 0: it said goodbye
);

-- What one session holds for itself, such as a mailbox. Void when node and epoch are.
CREATE TABLE leases (
    name     TEXT   PRIMARY KEY,
    node     TEXT   NOT NULL,
    epoch    BIGINT NOT NULL,
    token    BIGINT NOT NULL, -- goes up with every holder: an earlier one's writes are refused
    session  TEXT   NOT NULL,
    until_us BIGINT NOT NULL
);
CREATE INDEX leases_node ON leases (node, epoch);

-- What failed lately: logins by account and by address, unknown recipients by address.
CREATE TABLE throttles (
    kind     TEXT   NOT NULL,
    subject  TEXT   NOT NULL,
    begun_us BIGINT NOT NULL, -- where the window of the count began
    hits     BIGINT NOT NULL,
    PRIMARY KEY (kind, subject, begun_us)
);
CREATE INDEX throttles_begun ON throttles (begun_us);

CREATE TABLE domains (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    catch_all  TEXT    NOT NULL DEFAULT '', -- where mail to nobody goes; '': it is refused
    created_us BIGINT  NOT NULL
);

-- Another name of a domain: each of its addresses is that of the domain.
CREATE TABLE domain_aliases (
    name       TEXT   PRIMARY KEY,
    domain_id  BIGINT NOT NULL REFERENCES domains (id),
    created_us BIGINT NOT NULL
);
CREATE INDEX domain_aliases_domain ON domain_aliases (domain_id);

CREATE TABLE accounts (
    id             INTEGER PRIMARY KEY,
    domain_id      BIGINT  NOT NULL REFERENCES domains (id),
    address        TEXT    NOT NULL UNIQUE,
    directory      TEXT    NOT NULL UNIQUE,     -- beneath the mail root
    display_name   TEXT    NOT NULL DEFAULT '',
    password_hash  TEXT    NOT NULL,            -- argon2id, PHC string, or one that was taken over
    scram          TEXT    NOT NULL DEFAULT '', -- SCRAM-SHA-256 verifier; '': there is none yet
    state          TEXT    NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
    may_smtp       BIGINT  NOT NULL DEFAULT 1 CHECK (may_smtp IN (0, 1)),
    may_pop3       BIGINT  NOT NULL DEFAULT 1 CHECK (may_pop3 IN (0, 1)),
    may_imap       BIGINT  NOT NULL DEFAULT 1 CHECK (may_imap IN (0, 1)),
    quota_octets   BIGINT  NOT NULL DEFAULT 0 CHECK (quota_octets >= 0),   -- 0: none
    quota_messages BIGINT  NOT NULL DEFAULT 0 CHECK (quota_messages >= 0), -- 0: none
    created_us     BIGINT  NOT NULL,
    changed_us     BIGINT  NOT NULL DEFAULT 0   -- what a node remembers of it is older: ask again
);
CREATE INDEX accounts_domain ON accounts (domain_id);
CREATE INDEX accounts_changed ON accounts (changed_us);

-- More addresses of a user, each as good as the first.
CREATE TABLE account_addresses (
    address    TEXT   PRIMARY KEY,
    account_id BIGINT NOT NULL REFERENCES accounts (id),
    created_us BIGINT NOT NULL
);
CREATE INDEX account_addresses_account ON account_addresses (account_id);

CREATE TABLE aliases (
    address    TEXT   NOT NULL,
    target     TEXT   NOT NULL,
    domain_id  BIGINT NOT NULL REFERENCES domains (id),
    created_us BIGINT NOT NULL,
    PRIMARY KEY (address, target)
);
CREATE INDEX aliases_domain ON aliases (domain_id);
CREATE INDEX aliases_target ON aliases (target);

-- Distribution lists: mail to the address goes to each member.
CREATE TABLE lists (
    id           INTEGER PRIMARY KEY,
    domain_id    BIGINT  NOT NULL REFERENCES domains (id),
    address      TEXT    NOT NULL UNIQUE,
    display_name TEXT    NOT NULL DEFAULT '',
    senders      TEXT    NOT NULL DEFAULT 'anyone' CHECK (senders IN ('anyone', 'members')),
    created_us   BIGINT  NOT NULL
);
CREATE INDEX lists_domain ON lists (domain_id);

CREATE TABLE list_members (
    list_id    BIGINT NOT NULL REFERENCES lists (id),
    address    TEXT   NOT NULL,
    created_us BIGINT NOT NULL,
    PRIMARY KEY (list_id, address)
);
CREATE INDEX list_members_address ON list_members (address);

CREATE TABLE mailboxes (
    id             INTEGER PRIMARY KEY,
    account_id     BIGINT  NOT NULL REFERENCES accounts (id),
    name           TEXT    NOT NULL,
    uidvalidity    BIGINT  NOT NULL,
    uidnext        BIGINT  NOT NULL DEFAULT 1,
    highest_modseq BIGINT  NOT NULL DEFAULT 1,
    messages       BIGINT  NOT NULL DEFAULT 0,
    octets         BIGINT  NOT NULL DEFAULT 0,
    -- Of its last change. Behind the newest one both counters leap ahead at the next change: what
    -- the demoted server gave out last may be lost, and is never given out again.
    generation     BIGINT  NOT NULL DEFAULT 0,
    UNIQUE (account_id, name)
);

CREATE TABLE messages (
    mailbox_id       BIGINT NOT NULL REFERENCES mailboxes (id),
    uid              BIGINT NOT NULL,
    guid             TEXT   NOT NULL,
    file             TEXT   NOT NULL, -- beneath the mail root
    octets           BIGINT NOT NULL,
    sha256           TEXT   NOT NULL, -- of the file, hexadecimal
    internal_date_us BIGINT NOT NULL,
    flags            BIGINT NOT NULL DEFAULT 0,
    modseq           BIGINT NOT NULL,
    delivery_id      TEXT   NOT NULL,
    PRIMARY KEY (mailbox_id, uid)
) WITHOUT ROWID;
-- An unknown outcome of a commit is looked up by it; and nothing is ever kept twice.
CREATE UNIQUE INDEX messages_delivery ON messages (delivery_id, mailbox_id);

-- Files whose rows are gone: unlinked when no session can be reading them any more.
CREATE TABLE removals (
    file   TEXT   PRIMARY KEY,
    due_us BIGINT NOT NULL
);
CREATE INDEX removals_due ON removals (due_us);
