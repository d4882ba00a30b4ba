-- Everything the nodes share. Numbers are 64-bit, times are microseconds since 1970 UTC, there is
-- no boolean and no type that PostgreSQL or MariaDB would spell otherwise in a way that matters.

-- One row: which cluster this is. The same id stands in the file store's marker.
CREATE TABLE cluster (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    uuid       TEXT    NOT NULL,
    created_us BIGINT  NOT NULL
);

-- Numbers that only ever grow.
CREATE TABLE counters (
    name  TEXT   PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('uidvalidity', 0);

CREATE TABLE settings (
    name       TEXT   PRIMARY KEY,
    value      TEXT   NOT NULL,
    changed_us BIGINT NOT NULL
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

CREATE TABLE domains (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    created_us BIGINT  NOT NULL
);

CREATE TABLE accounts (
    id            INTEGER PRIMARY KEY,
    domain_id     BIGINT  NOT NULL REFERENCES domains (id),
    address       TEXT    NOT NULL UNIQUE,
    directory     TEXT    NOT NULL UNIQUE, -- beneath the mail root
    password_hash TEXT    NOT NULL,        -- argon2id, PHC string
    state         TEXT    NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
    created_us    BIGINT  NOT NULL
);
CREATE INDEX accounts_domain ON accounts (domain_id);

CREATE TABLE aliases (
    address    TEXT   NOT NULL,
    target     TEXT   NOT NULL,
    domain_id  BIGINT NOT NULL REFERENCES domains (id),
    created_us BIGINT NOT NULL,
    PRIMARY KEY (address, target)
);
CREATE INDEX aliases_domain ON aliases (domain_id);

CREATE TABLE mailboxes (
    id             INTEGER PRIMARY KEY,
    account_id     BIGINT  NOT NULL REFERENCES accounts (id),
    name           TEXT    NOT NULL,
    uidvalidity    BIGINT  NOT NULL,
    uidnext        BIGINT  NOT NULL DEFAULT 1,
    highest_modseq BIGINT  NOT NULL DEFAULT 1,
    messages       BIGINT  NOT NULL DEFAULT 0,
    octets         BIGINT  NOT NULL DEFAULT 0,
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
