# Copyright: certfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger's tables. A newer version is a further step at the end of STEPS; a step that was released never changes."""

from __future__ import annotations

_V1 = (
    "CREATE TABLE schema_version (version INTEGER NOT NULL)",
    "INSERT INTO schema_version VALUES (0)",
    # issuer: SPKI of the key that signs. identity is empty for an authority's own certificates (profile root, issuing).
    # id rises with time: it says which of two certificates is the older one, whatever the clock did.
    """
    CREATE TABLE certificates (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        serial TEXT NOT NULL UNIQUE,
        authority TEXT NOT NULL,
        issuer TEXT NOT NULL,
        identity TEXT NOT NULL,
        name TEXT NOT NULL,
        profile TEXT NOT NULL,
        common_name TEXT,
        names TEXT NOT NULL,
        spki TEXT NOT NULL,
        fingerprint TEXT UNIQUE,
        not_before INTEGER NOT NULL,
        not_after INTEGER NOT NULL,
        pem TEXT,
        state TEXT NOT NULL CHECK (state IN ('reserved', 'issued', 'superseded', 'revoked', 'expired')),
        reserved_at INTEGER NOT NULL,
        issued_at INTEGER,
        installed_at INTEGER,
        why TEXT NOT NULL
    )
    """,
    # All that ca_info needs to choose is in the index: it reads no row of the many that it does not return.
    "CREATE INDEX certificates_by_holder ON certificates (identity, name, state, installed_at)",
    "CREATE INDEX certificates_by_end ON certificates (state, not_after)",
    """
    CREATE TABLE pins (
        identity TEXT NOT NULL,
        spki TEXT NOT NULL,
        pinned_at INTEGER NOT NULL,
        why TEXT NOT NULL,
        PRIMARY KEY (identity, spki)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE outcomes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        identity TEXT NOT NULL,
        name TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reasons TEXT NOT NULL,
        fingerprint TEXT,
        said TEXT NOT NULL
    )
    """,
    "CREATE INDEX outcomes_by_holder ON outcomes (identity, name, id)",
)

# Outcomes of deploys that went wrong, and those after which all is well again; the others say nothing about a certificate.
BAD_OUTCOMES = ("rolled_back", "failed", "kept", "removed")
GOOD_OUTCOMES = ("installed", "reloaded", "unchanged")

_V2 = (
    # How often a certificate's deploys have gone wrong without a good one between them. put_right_at: a good one has followed;
    # it is kept until the next, since a wider proof may take the good one back.
    """
    CREATE TABLE failures (
        identity TEXT NOT NULL,
        name TEXT NOT NULL,
        count INTEGER NOT NULL,
        first_at INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        said TEXT NOT NULL,
        put_right_at INTEGER,
        PRIMARY KEY (identity, name)
    ) WITHOUT ROWID
    """,
    # All that open_failures needs is in it.
    "CREATE INDEX failures_by_time ON failures (put_right_at, last_at, count)",
    # What an older ledger knows of failures is in its outcomes.
    """
    INSERT INTO failures (identity, name, count, first_at, last_at, outcome, said)
    WITH
        put_right AS (
            SELECT identity, name, max(id) AS id FROM outcomes
            WHERE outcome IN ('installed', 'reloaded', 'unchanged') GROUP BY identity, name
        ),
        wrong AS (
            SELECT bad.identity, bad.name, count(*) AS count, min(bad.id) AS first_id, max(bad.id) AS last_id
            FROM outcomes AS bad LEFT JOIN put_right ON put_right.identity = bad.identity AND put_right.name = bad.name
            WHERE bad.outcome IN ('rolled_back', 'failed', 'kept', 'removed') AND bad.id > coalesce(put_right.id, 0)
            GROUP BY bad.identity, bad.name
        )
    SELECT wrong.identity, wrong.name, wrong.count, oldest.at, newest.at, newest.outcome, newest.said
    FROM wrong JOIN outcomes AS oldest ON oldest.id = wrong.first_id JOIN outcomes AS newest ON newest.id = wrong.last_id
    """,
)

_V3 = (
    # lifetime: the seconds that were asked for (a leaf may have been cut short by its issuer); NULL in older rows.
    "ALTER TABLE certificates ADD COLUMN lifetime INTEGER",
    "ALTER TABLE certificates ADD COLUMN revoked_at INTEGER",
    "ALTER TABLE certificates ADD COLUMN revocation_reason TEXT",
    "CREATE INDEX certificates_revoked ON certificates (issuer, revoked_at) WHERE state = 'revoked'",
    # Who may hold a name of an authority: it is held as long as a certificate in force of that identity has it. shared: on
    # purpose, beside others. A common name that clients are known by is held as CN:<common name>.
    """
    CREATE TABLE holders (
        authority TEXT NOT NULL,
        name TEXT NOT NULL,
        identity TEXT NOT NULL,
        shared INTEGER NOT NULL,
        PRIMARY KEY (authority, name, identity)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX holders_by_identity ON holders (identity)",
    """
    INSERT INTO holders (authority, name, identity, shared)
    SELECT DISTINCT certificates.authority, json_each.value, certificates.identity, 0
    FROM certificates, json_each(certificates.names)
    WHERE certificates.identity != '' AND certificates.state = 'issued'
    """,
    """
    INSERT INTO holders (authority, name, identity, shared)
    SELECT DISTINCT authority, 'CN:' || common_name, identity, 0 FROM certificates
    WHERE identity != '' AND state = 'issued' AND common_name IS NOT NULL AND profile != 'server'
    """,
    # Names that several had before anybody held them: shared = 2, until an identity says itself that it shares them. Otherwise none
    # of them could be renewed.
    """
    UPDATE holders SET shared = 2 WHERE EXISTS (
        SELECT 1 FROM holders AS other WHERE other.authority = holders.authority AND other.identity != holders.identity
        AND other.name IN (holders.name, 'DNS:*.' || substr(holders.name, instr(holders.name, '.') + 1))
    )
    """,
    """
    UPDATE holders SET shared = 2 WHERE name GLOB 'DNS:[*].*' AND EXISTS (
        SELECT 1 FROM holders AS other WHERE other.authority = holders.authority AND other.identity != holders.identity
        AND other.name GLOB 'DNS:*' AND substr(other.name, instr(other.name, '.') + 1) = substr(holders.name, 7)
    )
    """,
    # What the CA refused to sign, until it has signed it after all.
    """
    CREATE TABLE refusals (
        identity TEXT NOT NULL,
        name TEXT NOT NULL,
        code TEXT NOT NULL,
        message TEXT NOT NULL,
        count INTEGER NOT NULL,
        first_at INTEGER NOT NULL,
        last_at INTEGER NOT NULL,
        PRIMARY KEY (identity, name)
    ) WITHOUT ROWID
    """,
    # issuer: SPKI of the key that signs. A number is here before anything is signed with it; pem is NULL until then.
    """
    CREATE TABLE crls (
        issuer TEXT NOT NULL,
        number INTEGER NOT NULL,
        authority TEXT NOT NULL,
        part TEXT NOT NULL CHECK (part IN ('root', 'issuing')),
        this_update INTEGER NOT NULL,
        next_update INTEGER NOT NULL,
        reserved_at INTEGER NOT NULL,
        pem TEXT,
        PRIMARY KEY (issuer, number)
    ) WITHOUT ROWID
    """,
    # What people did by name: renamed, replaced, decommissioned, readmitted, revoked, adopted, backed up, restored, moved.
    """
    CREATE TABLE acts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        act TEXT NOT NULL,
        identity TEXT NOT NULL,
        said TEXT NOT NULL
    )
    """,
    # Of the ledger as a whole, such as frozen: why nothing may be written, since the CA has moved.
    "CREATE TABLE conditions (name TEXT PRIMARY KEY, said TEXT NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID",
)

_V4 = (
    # When the machine that had this certificate was replaced or decommissioned: its keys do not identify the one that is there now.
    "ALTER TABLE certificates ADD COLUMN gone_at INTEGER",
    "DROP INDEX certificates_by_holder",
    """
    CREATE INDEX certificates_by_holder ON certificates
        (identity, name, state, installed_at, not_after, revocation_reason, gone_at)
    """,
    "CREATE INDEX acts_by_identity ON acts (identity, id)",
    # What a wildcard covers: names by the domain above their first label.
    "CREATE INDEX holders_by_parent ON holders (authority, substr(name, instr(name, '.') + 1))",
)

_V5 = (
    # What every batch asks for, in the index alone.
    """
    CREATE INDEX certificates_compromised ON certificates (spki, revocation_reason)
    WHERE revocation_reason IN ('key_compromise', 'ca_compromise')
    """,
    # Readers tell from not_after what has ended. Older releases wrote it down, and a clock that was fast once left it on leaves that
    # others still take.
    """
    UPDATE certificates SET state = 'superseded' WHERE state = 'expired' AND EXISTS (
        SELECT 1 FROM certificates AS newer INDEXED BY certificates_by_holder
        WHERE newer.identity = certificates.identity AND newer.name = certificates.name AND newer.id > certificates.id
        AND CASE newer.identity
            WHEN '' THEN newer.name = 'issuing' AND newer.authority = certificates.authority AND newer.state != 'reserved'
            ELSE newer.installed_at IS NOT NULL END
    )
    """,
    "UPDATE certificates SET state = 'issued' WHERE state = 'expired'",
    # A common name that stands for a host, as stands_for_host() has it, was not known to be held. 3: added here.
    """
    INSERT OR IGNORE INTO holders (authority, name, identity, shared)
    SELECT DISTINCT authority, 'DNS:' || lower(common_name), identity, 3 FROM certificates
    WHERE identity != '' AND state = 'issued' AND gone_at IS NULL AND names NOT LIKE '%"DNS:%'
    AND common_name GLOB '*.*' AND common_name NOT GLOB '*[^A-Za-z0-9_.-]*' AND common_name NOT GLOB '[.-]*'
    AND common_name NOT GLOB '*[.-]' AND common_name NOT GLOB '*.[.-]*' AND common_name NOT GLOB '*-.*'
    """,
    # Several may have it already, as in _V3.
    """
    UPDATE holders SET shared = 2 WHERE shared = 0 AND (authority, name) IN (
        SELECT authority, name FROM holders WHERE shared = 3
        UNION SELECT authority, 'DNS:*.' || substr(name, instr(name, '.') + 1) FROM holders WHERE shared = 3
    ) AND EXISTS (
        SELECT 1 FROM holders AS added WHERE added.shared = 3 AND added.authority = holders.authority
        AND added.identity != holders.identity
        AND holders.name IN (added.name, 'DNS:*.' || substr(added.name, instr(added.name, '.') + 1))
    )
    """,
    """
    UPDATE holders SET shared = CASE WHEN EXISTS (
        SELECT 1 FROM holders AS other WHERE other.authority = holders.authority AND other.identity != holders.identity
        AND other.name IN (holders.name, 'DNS:*.' || substr(holders.name, instr(holders.name, '.') + 1))
    ) THEN 2 ELSE 0 END WHERE shared = 3
    """,
)

STEPS: tuple[tuple[str, ...], ...] = (_V1, _V2, _V3, _V4, _V5)
