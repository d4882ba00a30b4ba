-- The tables of ../sqlite/0001_first.sql as MariaDB 10.6 and MySQL 8 spell them; what they are for
-- is told there. Text is compared by its bytes; what is indexed has a length.

CREATE TABLE cluster (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    uuid VARCHAR(36) NOT NULL,
    created_us BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE generations (
    generation BIGINT PRIMARY KEY,
    server VARCHAR(128) NOT NULL,
    began_us BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE counters (
    name VARCHAR(64) PRIMARY KEY,
    value BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT INTO counters (name, value) VALUES ('uidvalidity', 0), ('confirmed', 0);

CREATE TABLE settings (
    name VARCHAR(128) PRIMARY KEY,
    value VARCHAR(4000) NOT NULL,
    changed_us BIGINT NOT NULL,
    changed_by VARCHAR(320) NOT NULL DEFAULT ''
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE chores (
    name VARCHAR(64) PRIMARY KEY,
    due_us BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
INSERT INTO chores (name, due_us) VALUES ('sweep', 0);

CREATE TABLE nodes (
    name VARCHAR(63) PRIMARY KEY,
    epoch BIGINT NOT NULL,
    process VARCHAR(300) NOT NULL,
    started_us BIGINT NOT NULL,
    heartbeat_us BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE leases (
    name VARCHAR(191) PRIMARY KEY,
    node VARCHAR(63) NOT NULL,
    epoch BIGINT NOT NULL,
    token BIGINT NOT NULL,
    session VARCHAR(128) NOT NULL,
    until_us BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX leases_node ON leases (node, epoch);

CREATE TABLE throttles (
    kind VARCHAR(32) NOT NULL,
    subject VARCHAR(320) NOT NULL,
    begun_us BIGINT NOT NULL,
    hits BIGINT NOT NULL,
    PRIMARY KEY (kind, subject, begun_us)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX throttles_begun ON throttles (begun_us);

CREATE TABLE domains (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    name VARCHAR(253) NOT NULL UNIQUE,
    catch_all VARCHAR(320) NOT NULL DEFAULT '',
    created_us BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE domain_aliases (
    name VARCHAR(253) PRIMARY KEY,
    domain_id BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    FOREIGN KEY (domain_id) REFERENCES domains (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX domain_aliases_domain ON domain_aliases (domain_id);

CREATE TABLE accounts (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    domain_id BIGINT NOT NULL,
    address VARCHAR(320) NOT NULL UNIQUE,
    directory VARCHAR(400) NOT NULL UNIQUE,
    display_name VARCHAR(255) NOT NULL DEFAULT '',
    password_hash VARCHAR(512) NOT NULL,
    scram VARCHAR(512) NOT NULL DEFAULT '',
    state VARCHAR(16) NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'disabled')),
    may_smtp BIGINT NOT NULL DEFAULT 1 CHECK (may_smtp IN (0, 1)),
    may_pop3 BIGINT NOT NULL DEFAULT 1 CHECK (may_pop3 IN (0, 1)),
    may_imap BIGINT NOT NULL DEFAULT 1 CHECK (may_imap IN (0, 1)),
    quota_octets BIGINT NOT NULL DEFAULT 0 CHECK (quota_octets >= 0),
    quota_messages BIGINT NOT NULL DEFAULT 0 CHECK (quota_messages >= 0),
    created_us BIGINT NOT NULL,
    changed_us BIGINT NOT NULL DEFAULT 0,
    FOREIGN KEY (domain_id) REFERENCES domains (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX accounts_domain ON accounts (domain_id);
CREATE INDEX accounts_changed ON accounts (changed_us);

CREATE TABLE account_addresses (
    address VARCHAR(320) PRIMARY KEY,
    account_id BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    FOREIGN KEY (account_id) REFERENCES accounts (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX account_addresses_account ON account_addresses (account_id);

CREATE TABLE aliases (
    address VARCHAR(320) NOT NULL,
    target VARCHAR(320) NOT NULL,
    domain_id BIGINT NOT NULL,
    created_us BIGINT NOT NULL,
    PRIMARY KEY (address, target),
    FOREIGN KEY (domain_id) REFERENCES domains (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX aliases_domain ON aliases (domain_id);
CREATE INDEX aliases_target ON aliases (target);

CREATE TABLE lists (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    domain_id BIGINT NOT NULL,
    address VARCHAR(320) NOT NULL UNIQUE,
    display_name VARCHAR(255) NOT NULL DEFAULT '',
    senders VARCHAR(16) NOT NULL DEFAULT 'anyone' CHECK (senders IN ('anyone', 'members')),
    created_us BIGINT NOT NULL,
    FOREIGN KEY (domain_id) REFERENCES domains (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX lists_domain ON lists (domain_id);

CREATE TABLE list_members (
    list_id BIGINT NOT NULL,
    address VARCHAR(320) NOT NULL,
    created_us BIGINT NOT NULL,
    PRIMARY KEY (list_id, address),
    FOREIGN KEY (list_id) REFERENCES lists (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX list_members_address ON list_members (address);

CREATE TABLE mailboxes (
    id BIGINT AUTO_INCREMENT PRIMARY KEY,
    account_id BIGINT NOT NULL,
    name VARCHAR(255) NOT NULL,
    uidvalidity BIGINT NOT NULL,
    uidnext BIGINT NOT NULL DEFAULT 1,
    highest_modseq BIGINT NOT NULL DEFAULT 1,
    messages BIGINT NOT NULL DEFAULT 0,
    octets BIGINT NOT NULL DEFAULT 0,
    generation BIGINT NOT NULL DEFAULT 0,
    UNIQUE (account_id, name),
    FOREIGN KEY (account_id) REFERENCES accounts (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

CREATE TABLE messages (
    mailbox_id BIGINT NOT NULL,
    uid BIGINT NOT NULL,
    guid VARCHAR(80) NOT NULL,
    file VARCHAR(500) NOT NULL,
    octets BIGINT NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    internal_date_us BIGINT NOT NULL,
    flags BIGINT NOT NULL DEFAULT 0,
    modseq BIGINT NOT NULL,
    delivery_id VARCHAR(80) NOT NULL,
    PRIMARY KEY (mailbox_id, uid),
    FOREIGN KEY (mailbox_id) REFERENCES mailboxes (id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE UNIQUE INDEX messages_delivery ON messages (delivery_id, mailbox_id);

CREATE TABLE removals (
    file VARCHAR(500) PRIMARY KEY,
    due_us BIGINT NOT NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
CREATE INDEX removals_due ON removals (due_us);
