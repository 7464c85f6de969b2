/**
 * The schema, one step a version; user_version counts the steps that a file has had.
 *
 * Invariants:
 * - A step that was released is never changed: a new one is added.
 * - Ids that people see are never given twice (AUTOINCREMENT).
 * - Addresses are unsigned 32-bit, MACs unsigned 48-bit integers; times are milliseconds since 1970.
 */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE reservation (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    source TEXT NOT NULL CHECK (source IN ('g5k-subnets', 'cidr-list', 'g5k-api')),
    user TEXT,
    site TEXT,
    job_id TEXT,
    starts_at_ms INTEGER NOT NULL,
    ends_at_ms INTEGER NOT NULL,
    settings TEXT NOT NULL,
    ranges TEXT NOT NULL,
    exclusions TEXT NOT NULL
  ) STRICT;
  CREATE INDEX reservation_end ON reservation (ends_at_ms);

  CREATE TABLE lease (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    reservation_id INTEGER NOT NULL REFERENCES reservation (id),
    address INTEGER NOT NULL UNIQUE CHECK (address BETWEEN 0 AND 4294967295),
    mac INTEGER NOT NULL UNIQUE CHECK (mac BETWEEN 0 AND 281474976710655),
    owner TEXT NOT NULL CHECK (owner GLOB 'vif:[0-9]*/[0-9]*' OR owner GLOB 'name:*'),
    state TEXT NOT NULL CHECK (state IN ('pending', 'bound', 'quarantined', 'declined', 'expired')),
    revision INTEGER NOT NULL CHECK (revision >= 1),
    created_at_ms INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER CHECK (expires_at_ms IS NULL OR state IN ('pending', 'quarantined'))
  ) STRICT;
  CREATE UNIQUE INDEX lease_held ON lease (reservation_id, owner) WHERE state IN ('pending', 'bound');
  CREATE INDEX lease_owner ON lease (owner, reservation_id);
  CREATE INDEX lease_state ON lease (reservation_id, state);
  CREATE INDEX lease_address ON lease (reservation_id, address);
  CREATE INDEX lease_end ON lease (expires_at_ms, reservation_id) WHERE expires_at_ms IS NOT NULL;

  CREATE TABLE mac (
    mac INTEGER PRIMARY KEY CHECK (mac BETWEEN 0 AND 281474976710655),
    reason TEXT NOT NULL CHECK (reason IN ('leased', 'kept', 'random', 'chosen')),
    owner TEXT NOT NULL,
    lease_id INTEGER REFERENCES lease (id) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX mac_lease ON mac (lease_id) WHERE lease_id IS NOT NULL;
  CREATE INDEX mac_claim ON mac (owner) WHERE lease_id IS NULL;

  CREATE TABLE host (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    deployment_id TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    session_counter INTEGER NOT NULL,
    is_simulated INTEGER NOT NULL CHECK (is_simulated IN (0, 1)),
    joined_at_ms INTEGER NOT NULL,
    last_seen_at_ms INTEGER,
    revoked_at_ms INTEGER,
    clock_offset_ms REAL NOT NULL,
    facts TEXT
  ) STRICT;

  CREATE TABLE vm (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    host_id INTEGER NOT NULL REFERENCES host (id),
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    cfg_path TEXT,
    uuid TEXT,
    state TEXT NOT NULL
      CHECK (state IN ('unknown', 'stopped', 'starting', 'running', 'paused', 'stopping', 'crashed')),
    memory_mib INTEGER NOT NULL,
    vcpus INTEGER NOT NULL,
    vifs TEXT NOT NULL,
    problem TEXT,
    observed_at_ms INTEGER NOT NULL,
    is_gone INTEGER NOT NULL CHECK (is_gone IN (0, 1)),
    UNIQUE (host_id, key)
  ) STRICT;

  CREATE TABLE event (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    actor TEXT NOT NULL,
    request_id TEXT,
    reservation TEXT,
    address INTEGER,
    mac INTEGER,
    host TEXT,
    vm_id INTEGER,
    owner TEXT,
    details TEXT
  ) STRICT;
  CREATE INDEX event_time ON event (at_ms);
  CREATE INDEX event_reservation ON event (reservation) WHERE reservation IS NOT NULL;
  CREATE INDEX event_address ON event (address) WHERE address IS NOT NULL;
  CREATE INDEX event_mac ON event (mac) WHERE mac IS NOT NULL;
  CREATE INDEX event_host ON event (host) WHERE host IS NOT NULL;
  CREATE INDEX event_vm ON event (vm_id) WHERE vm_id IS NOT NULL;
  CREATE INDEX event_owner ON event (owner) WHERE owner IS NOT NULL;

  CREATE TABLE request (
    request_id TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    answer TEXT NOT NULL,
    at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX request_time ON request (at_ms);

  CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    secret_hash TEXT NOT NULL UNIQUE,
    host_pattern TEXT NOT NULL,
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    expires_at_ms INTEGER NOT NULL
  ) STRICT;

  CREATE TABLE token_use (
    token_id INTEGER NOT NULL REFERENCES token (id) ON DELETE CASCADE,
    host TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    PRIMARY KEY (token_id, host, key_hash)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE identity (
    serial TEXT PRIMARY KEY,
    role TEXT NOT NULL CHECK (role IN ('agent', 'admin')),
    name TEXT NOT NULL,
    issued_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER
  ) STRICT;
  CREATE INDEX identity_name ON identity (role, name);
  CREATE INDEX identity_end ON identity (expires_at_ms);
  CREATE INDEX identity_revoked ON identity (expires_at_ms) WHERE revoked_at_ms IS NOT NULL;
  `,
  // Hosts that reach the controller through a tunnel dial its end instead of what is advertised.
  `
  ALTER TABLE host ADD COLUMN session_addresses TEXT NOT NULL DEFAULT '[]';
  ALTER TABLE token ADD COLUMN session_addresses TEXT NOT NULL DEFAULT '[]';
  `,
  // What a VM's ssh host keys are is read from its disk.
  `
  ALTER TABLE vm ADD COLUMN host_keys TEXT NOT NULL DEFAULT '[]';
  `,
  // What is done with VMs by several orders, so that it is gone on with after a restart.
  `
  CREATE TABLE vm_job (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,
    request_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    name TEXT NOT NULL,
    host_id INTEGER NOT NULL REFERENCES host (id) ON DELETE CASCADE,
    vm_key TEXT NOT NULL,
    order_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'undoing', 'done', 'undone')),
    data TEXT NOT NULL,
    changed_at_ms INTEGER NOT NULL
  ) STRICT;
  CREATE UNIQUE INDEX vm_job_live ON vm_job (kind, name) WHERE state IN ('running', 'undoing');
  CREATE INDEX vm_job_request ON vm_job (request_id);
  CREATE INDEX vm_job_host ON vm_job (host_id);
  CREATE INDEX vm_job_end ON vm_job (changed_at_ms) WHERE state IN ('done', 'undone');
  CREATE TABLE vm_job_shared (
    request_id TEXT PRIMARY KEY,
    data TEXT NOT NULL
  ) STRICT;
  `,
  // Words that users give to VMs.
  `
  CREATE TABLE vm_label (
    vm_id INTEGER NOT NULL REFERENCES vm (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (vm_id, key)
  ) STRICT, WITHOUT ROWID;
  `,
];
