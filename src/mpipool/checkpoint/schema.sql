-- The run database. docs/checkpoint.md says what it guarantees, and has recipes for it.
-- Times are seconds since the epoch, durations seconds, memory KiB.

CREATE TABLE meta (          -- schema_version, created, config (canonical JSON)
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE lock (          -- one row while a run holds the database, none when it has ended
    one       INTEGER PRIMARY KEY CHECK (one = 1),
    token     INTEGER NOT NULL,      -- of the holder's session; checked in each transaction
    host      TEXT    NOT NULL,
    pid       INTEGER NOT NULL,
    process   TEXT    NOT NULL,      -- boot, PID namespace and start: a PID alone is used again
    started   REAL    NOT NULL,
    batch_job TEXT    NOT NULL,      -- empty outside a batch system
    heartbeat REAL    NOT NULL
);

CREATE TABLE session (       -- one row per start of the run
    token   INTEGER PRIMARY KEY,     -- counts up, never used again
    started REAL    NOT NULL,
    ended   REAL,                    -- for a killed session: its last heartbeat
    host    TEXT    NOT NULL,
    pid     INTEGER NOT NULL,
    ranks   INTEGER NOT NULL,
    command TEXT    NOT NULL,
    state   TEXT    NOT NULL         -- running, killed, or what the run said when it ended
);

CREATE TABLE rank (          -- where the ranks of a session were
    session INTEGER NOT NULL,
    rank    INTEGER NOT NULL,
    host    TEXT    NOT NULL,
    pid     INTEGER NOT NULL,
    PRIMARY KEY (session, rank)
);

CREATE TABLE note (          -- what a run has said of itself: ranks lost, nodes quarantined, its end
    id      INTEGER PRIMARY KEY,
    session INTEGER NOT NULL,
    said    REAL    NOT NULL,
    text    TEXT    NOT NULL
);

CREATE TABLE scatter (       -- an ordered set of tasks with one leader
    session INTEGER NOT NULL,
    id      INTEGER NOT NULL,        -- unique in its session
    parent  INTEGER,                 -- scatter of the task that opened it; NULL for the script's
    stage   TEXT    NOT NULL,
    tasks   INTEGER NOT NULL,        -- how many are run in this session
    leader  INTEGER NOT NULL,        -- rank
    opened  REAL    NOT NULL,
    closed  REAL,
    PRIMARY KEY (session, id)
) WITHOUT ROWID;

-- One row per finished attempt, appended and never changed. No index: a random insert into one
-- costs ten times the row. The last row of a digest is the state of its key: nothing is appended
-- after "done", unless the task's outputs had gone and it was run again.
CREATE TABLE attempt (
    id          INTEGER PRIMARY KEY,
    session     INTEGER NOT NULL,
    scatter     INTEGER NOT NULL,
    task        INTEGER NOT NULL,    -- index in its scatter
    attempt     INTEGER NOT NULL,    -- from 1; of a key it counts on through the sessions
    digest      BLOB,                -- of the key; NULL where tasks have none
    data_id     TEXT,                -- canonical JSON
    state       TEXT    NOT NULL
                CHECK (state IN ('done', 'failed', 'lost', 'blocked', 'interrupted')),
    rank        INTEGER NOT NULL,
    started     REAL    NOT NULL,
    finished    REAL    NOT NULL,
    cpu         REAL    NOT NULL,
    peak_memory INTEGER NOT NULL,
    error       TEXT,
    message     TEXT,
    traceback   TEXT,
    stderr      TEXT,
    metrics     TEXT,                -- JSON object
    outputs     TEXT,                -- JSON list of paths; relative ones start at the database
    result_file TEXT,                -- name:size:sha256, in the folder "results"
    result_check INTEGER,            -- CRC-32 of "result"; NULL in rows made by schema 1
    row_check   INTEGER,             -- CRC-32 of all columns above; the same
    result      BLOB                 -- pickled; last, since what is behind it is slow to read
);

-- Attempts with the stage of their scatter and the host of their rank.
CREATE VIEW record AS
SELECT a.id, a.session, coalesce(s.stage, '') AS stage, a.scatter, a.task, a.attempt, a.data_id,
       a.state, a.rank, coalesce(r.host, '') AS host, a.started, a.finished, a.cpu, a.peak_memory,
       a.error, a.message, a.traceback, a.stderr, a.metrics, a.outputs, a.digest, a.result_file
FROM attempt a
LEFT JOIN scatter s ON s.session = a.session AND s.id = a.scatter
LEFT JOIN rank r ON r.session = a.session AND r.rank = a.rank;

-- The last attempt of each key; where there is no key, of each task of each session.
CREATE VIEW latest AS
SELECT * FROM record WHERE id IN (
    SELECT max(id) FROM attempt
    GROUP BY digest,
             CASE WHEN digest IS NULL THEN session END,
             CASE WHEN digest IS NULL THEN scatter END,
             CASE WHEN digest IS NULL THEN task END
);

-- What failed, and why.
CREATE VIEW failed AS
SELECT stage, data_id, attempt, error, message, rank, host, peak_memory, session, scatter, task, id
FROM latest WHERE state = 'failed';
