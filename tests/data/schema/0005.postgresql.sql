SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
CREATE SCHEMA tuneledger;
SET default_tablespace = '';
CREATE TABLE tuneledger.checkpoints (
    job_key bigint NOT NULL,
    step_number bigint NOT NULL,
    created_at bigint NOT NULL,
    extra text COLLATE pg_catalog."C",
    digest bigint NOT NULL,
    CONSTRAINT ck_checkpoints_created_at CHECK ((created_at >= 0)),
    CONSTRAINT ck_checkpoints_step_number CHECK ((step_number >= 0))
);
CREATE TABLE tuneledger.job_digests (
    job_key bigint NOT NULL,
    digest bigint NOT NULL,
    summary_digest bigint
);
CREATE TABLE tuneledger.job_metrics (
    job_key bigint NOT NULL,
    name_id integer NOT NULL,
    number_count bigint,
    first_step bigint,
    first_value double precision,
    last_step bigint,
    last_value double precision,
    min_step bigint,
    min_value double precision,
    max_step bigint,
    max_value double precision
);
CREATE TABLE tuneledger.jobs (
    job_key bigint NOT NULL,
    job_id text NOT NULL COLLATE pg_catalog."C",
    provider text NOT NULL COLLATE pg_catalog."C",
    model text COLLATE pg_catalog."C",
    status text COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    revision bigint NOT NULL,
    finished_at bigint,
    fine_tuned_model text COLLATE pg_catalog."C",
    trained_tokens bigint,
    cost double precision,
    cost_currency text COLLATE pg_catalog."C",
    document text NOT NULL COLLATE pg_catalog."C",
    older_fields text COLLATE pg_catalog."C",
    archived_at bigint NOT NULL,
    CONSTRAINT ck_jobs_created_at CHECK ((created_at >= 0)),
    CONSTRAINT ck_jobs_revision CHECK ((revision >= 0))
);
CREATE TABLE tuneledger.metric_names (
    name_id integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    canonical text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE tuneledger.metrics (
    job_key bigint NOT NULL,
    name_id integer NOT NULL,
    step_number bigint NOT NULL,
    value double precision,
    kind smallint,
    CONSTRAINT ck_metrics_kind CHECK ((((kind IS NULL) AND (value IS NOT NULL) AND ((value >= ('-179769313486231570000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision) AND (value <= ('179769313486231570000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000'::numeric)::double precision))) OR ((kind = 5) AND (value IS NOT NULL) AND (value = (0)::double precision)) OR ((kind IS NOT NULL) AND (kind = ANY (ARRAY[1, 2, 3, 4, 6])) AND (value IS NULL)))),
    CONSTRAINT ck_metrics_step_number CHECK ((step_number >= 0))
);
CREATE VIEW tuneledger.comparison AS
 SELECT j.job_id,
    j.provider,
    j.model,
    n.canonical AS metric,
    m.step_number AS step,
    COALESCE(((m.step_number)::double precision / (NULLIF(
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.last_step
            ELSE ( SELECT max(l.step_number) AS max
               FROM tuneledger.metrics l
              WHERE ((l.job_key = s.job_key) AND (l.name_id = s.name_id) AND (l.value IS NOT NULL)))
        END, 0))::double precision), (1)::double precision) AS relative_step,
    m.value
   FROM ((((tuneledger.jobs j
     JOIN tuneledger.job_digests d ON ((d.job_key = j.job_key)))
     JOIN tuneledger.job_metrics s ON ((s.job_key = j.job_key)))
     JOIN tuneledger.metric_names n ON ((n.name_id = s.name_id)))
     CROSS JOIN tuneledger.metrics m)
  WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id) AND (m.value IS NOT NULL) AND (NOT (EXISTS ( SELECT 1
           FROM (tuneledger.job_metrics better
             JOIN tuneledger.metric_names b ON ((b.name_id = better.name_id)))
          WHERE ((better.job_key = s.job_key) AND (b.canonical = n.canonical) AND (ROW((b.name <> b.canonical), b.name) < ROW((n.name <> n.canonical), n.name)))))));
CREATE TABLE tuneledger.events (
    job_key bigint NOT NULL,
    digest bigint NOT NULL,
    occurrence integer NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    created_at bigint NOT NULL,
    data text COLLATE pg_catalog."C"
);
CREATE TABLE tuneledger.inputs (
    job_key bigint NOT NULL,
    sha256 text NOT NULL COLLATE pg_catalog."C",
    name text NOT NULL COLLATE pg_catalog."C",
    format text NOT NULL COLLATE pg_catalog."C",
    size_bytes bigint NOT NULL,
    tuneledger_version text NOT NULL COLLATE pg_catalog."C",
    archived_at bigint NOT NULL
);
CREATE VIEW tuneledger.job_events AS
 SELECT
        CASE
            WHEN (e.created_at > 0) THEN to_timestamp((e.created_at)::double precision)
            ELSE NULL::timestamp with time zone
        END AS "time",
    j.job_id,
    j.provider,
    j.model,
    e.name AS event,
    e.data
   FROM (tuneledger.jobs j
     JOIN tuneledger.events e ON ((e.job_key = j.job_key)));
CREATE TABLE tuneledger.job_labels (
    job_key bigint NOT NULL,
    label text NOT NULL COLLATE pg_catalog."C"
);
CREATE VIEW tuneledger.job_metric_names AS
 SELECT j.job_id,
    j.provider,
    j.model,
    n.name AS metric,
    n.canonical
   FROM ((tuneledger.jobs j
     JOIN tuneledger.job_metrics s ON ((s.job_key = j.job_key)))
     JOIN tuneledger.metric_names n ON ((n.name_id = s.name_id)));
CREATE VIEW tuneledger.job_overview AS
 SELECT
        CASE
            WHEN (j.created_at > 0) THEN to_timestamp((j.created_at)::double precision)
            ELSE NULL::timestamp with time zone
        END AS "time",
    j.job_id,
    j.provider,
    j.model,
    j.status,
        CASE
            WHEN (j.finished_at > 0) THEN to_timestamp((j.finished_at)::double precision)
            ELSE NULL::timestamp with time zone
        END AS finished,
        CASE
            WHEN ((j.created_at > 0) AND (j.finished_at >= j.created_at)) THEN (j.finished_at - j.created_at)
            ELSE NULL::bigint
        END AS duration_seconds,
    j.trained_tokens,
    j.cost,
    j.cost_currency,
    j.fine_tuned_model,
    ( SELECT max(c.step_number) AS max
           FROM tuneledger.checkpoints c
          WHERE (c.job_key = d.job_key)) AS last_step
   FROM (tuneledger.jobs j
     JOIN tuneledger.job_digests d ON ((d.job_key = j.job_key)));
CREATE TABLE tuneledger.job_states (
    job_key bigint NOT NULL,
    revision bigint NOT NULL,
    status text NOT NULL COLLATE pg_catalog."C",
    CONSTRAINT ck_job_states_revision CHECK ((revision >= 0))
);
CREATE VIEW tuneledger.job_status_history AS
 SELECT
        CASE
            WHEN ((j.created_at > 0) AND ((s.revision >= j.created_at) AND (s.revision <= '253402300799'::bigint))) THEN
            CASE
                WHEN (s.revision > 0) THEN to_timestamp((s.revision)::double precision)
                ELSE NULL::timestamp with time zone
            END
            ELSE NULL::timestamp with time zone
        END AS "time",
    j.job_id,
    j.provider,
    j.model,
    s.revision,
    s.status
   FROM (tuneledger.jobs j
     JOIN tuneledger.job_states s ON ((s.job_key = j.job_key)));
CREATE VIEW tuneledger.job_summary AS
 SELECT j.job_id,
    j.provider,
    j.model,
    n.name AS metric,
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.number_count
            ELSE ( SELECT count(m.value) AS count
               FROM tuneledger.metrics m
              WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id)))
        END AS number_count,
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.first_step
            ELSE ( SELECT m.step_number
               FROM tuneledger.metrics m
              WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id) AND (m.value IS NOT NULL))
              ORDER BY m.step_number
             LIMIT 1)
        END AS first_step,
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.first_value
            ELSE ( SELECT m.value
               FROM tuneledger.metrics m
              WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id) AND (m.value IS NOT NULL))
              ORDER BY m.step_number
             LIMIT 1)
        END AS first_value,
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.last_step
            ELSE ( SELECT m.step_number
               FROM tuneledger.metrics m
              WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id) AND (m.value IS NOT NULL))
              ORDER BY m.step_number DESC
             LIMIT 1)
        END AS last_step,
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.last_value
            ELSE ( SELECT m.value
               FROM tuneledger.metrics m
              WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id) AND (m.value IS NOT NULL))
              ORDER BY m.step_number DESC
             LIMIT 1)
        END AS last_value,
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.min_step
            ELSE ( SELECT m.step_number
               FROM tuneledger.metrics m
              WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id) AND (m.value IS NOT NULL))
              ORDER BY m.value, m.step_number
             LIMIT 1)
        END AS min_step,
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.min_value
            ELSE ( SELECT m.value
               FROM tuneledger.metrics m
              WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id) AND (m.value IS NOT NULL))
              ORDER BY m.value, m.step_number
             LIMIT 1)
        END AS min_value,
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.max_step
            ELSE ( SELECT m.step_number
               FROM tuneledger.metrics m
              WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id) AND (m.value IS NOT NULL))
              ORDER BY m.value DESC, m.step_number
             LIMIT 1)
        END AS max_step,
        CASE
            WHEN ((d.summary_digest = d.digest) AND (s.number_count IS NOT NULL)) THEN s.max_value
            ELSE ( SELECT m.value
               FROM tuneledger.metrics m
              WHERE ((m.job_key = s.job_key) AND (m.name_id = s.name_id) AND (m.value IS NOT NULL))
              ORDER BY m.value DESC, m.step_number
             LIMIT 1)
        END AS max_value
   FROM (((tuneledger.jobs j
     JOIN tuneledger.job_digests d ON ((d.job_key = j.job_key)))
     JOIN tuneledger.job_metrics s ON ((s.job_key = d.job_key)))
     JOIN tuneledger.metric_names n ON ((n.name_id = s.name_id)));
ALTER TABLE tuneledger.jobs ALTER COLUMN job_key ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME tuneledger.jobs_job_key_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
ALTER TABLE tuneledger.metric_names ALTER COLUMN name_id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME tuneledger.metric_names_name_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE VIEW tuneledger.points AS
 SELECT
        CASE
            WHEN (c.created_at > 0) THEN to_timestamp((c.created_at)::double precision)
            ELSE NULL::timestamp with time zone
        END AS "time",
    j.job_id,
    j.provider,
    j.model,
    m.step_number AS step,
    n.name AS metric,
    m.value
   FROM (((tuneledger.jobs j
     JOIN tuneledger.metrics m ON ((m.job_key = j.job_key)))
     JOIN tuneledger.metric_names n ON ((n.name_id = m.name_id)))
     LEFT JOIN tuneledger.checkpoints c ON (((c.job_key = m.job_key) AND (c.step_number = m.step_number))));
CREATE TABLE tuneledger.tuneledger_version (
    version_num character varying(32) NOT NULL
);
CREATE VIEW tuneledger.wide_checkpoints AS
 SELECT
        CASE
            WHEN (c.created_at > 0) THEN to_timestamp((c.created_at)::double precision)
            ELSE NULL::timestamp with time zone
        END AS "time",
    j.job_id,
    j.provider,
    j.model,
    c.step_number AS step,
    ( SELECT m.value
           FROM (tuneledger.metric_names n
             CROSS JOIN tuneledger.metrics m)
          WHERE ((m.job_key = c.job_key) AND (m.name_id = n.name_id) AND (m.step_number = c.step_number) AND (n.canonical = 'train_loss'::text))
          ORDER BY
                CASE
                    WHEN (n.name = n.canonical) THEN 0
                    ELSE 1
                END, n.name
         LIMIT 1) AS train_loss,
    ( SELECT m.value
           FROM (tuneledger.metric_names n
             CROSS JOIN tuneledger.metrics m)
          WHERE ((m.job_key = c.job_key) AND (m.name_id = n.name_id) AND (m.step_number = c.step_number) AND (n.canonical = 'valid_loss'::text))
          ORDER BY
                CASE
                    WHEN (n.name = n.canonical) THEN 0
                    ELSE 1
                END, n.name
         LIMIT 1) AS valid_loss,
    ( SELECT m.value
           FROM (tuneledger.metric_names n
             CROSS JOIN tuneledger.metrics m)
          WHERE ((m.job_key = c.job_key) AND (m.name_id = n.name_id) AND (m.step_number = c.step_number) AND (n.canonical = 'valid_mean_token_accuracy'::text))
          ORDER BY
                CASE
                    WHEN (n.name = n.canonical) THEN 0
                    ELSE 1
                END, n.name
         LIMIT 1) AS valid_mean_token_accuracy
   FROM (tuneledger.jobs j
     JOIN tuneledger.checkpoints c ON ((c.job_key = j.job_key)));
INSERT INTO tuneledger.checkpoints VALUES (1, 10, 1700000010, NULL, 7497386568228501061);
INSERT INTO tuneledger.checkpoints VALUES (1, 20, 1700000020, NULL, 3773571017811987237);
INSERT INTO tuneledger.checkpoints VALUES (1, 30, 1700000030, NULL, 5652501194560983984);
INSERT INTO tuneledger.checkpoints VALUES (1, 40, 1700000040, NULL, 3502115450589588040);
INSERT INTO tuneledger.checkpoints VALUES (1, 50, 1700000050, NULL, 874814236170841973);
INSERT INTO tuneledger.checkpoints VALUES (1, 60, 1700000060, NULL, 3534092369103696168);
INSERT INTO tuneledger.checkpoints VALUES (1, 70, 1700000070, NULL, 6178554560872357850);
INSERT INTO tuneledger.checkpoints VALUES (1, 80, 1700000080, NULL, 2125261903679631371);
INSERT INTO tuneledger.checkpoints VALUES (1, 90, 1700000090, NULL, 9038209444443096087);
INSERT INTO tuneledger.checkpoints VALUES (1, 100, 1700000100, NULL, 7595222901224141124);
INSERT INTO tuneledger.checkpoints VALUES (1, 110, 1700000110, NULL, 6568486698717663242);
INSERT INTO tuneledger.checkpoints VALUES (1, 120, 1700000120, NULL, 6200675748415921344);
INSERT INTO tuneledger.checkpoints VALUES (1, 130, 1700000130, NULL, 7872556148931701952);
INSERT INTO tuneledger.checkpoints VALUES (1, 140, 1700000140, NULL, 7882836912409218071);
INSERT INTO tuneledger.checkpoints VALUES (1, 150, 1700000150, NULL, 6407966665601065281);
INSERT INTO tuneledger.checkpoints VALUES (1, 160, 1700000160, NULL, 1569836476529821396);
INSERT INTO tuneledger.checkpoints VALUES (1, 170, 1700000170, NULL, 8873221909008665541);
INSERT INTO tuneledger.checkpoints VALUES (1, 180, 1700000180, NULL, 4402190906479269635);
INSERT INTO tuneledger.checkpoints VALUES (1, 190, 1700000190, NULL, 3973546410905051228);
INSERT INTO tuneledger.checkpoints VALUES (1, 200, 1700000200, NULL, 4099174501510030783);
INSERT INTO tuneledger.checkpoints VALUES (2, 0, 0, '{"metrics":{"big":9223372036854775809,"note":"text"}}', 6626600977680180739);
INSERT INTO tuneledger.checkpoints VALUES (2, 9223372036854775807, 0, NULL, 4557833098677992767);
INSERT INTO tuneledger.events VALUES (1, 4863970281373657498, 0, 'Ende', 1700000300, '{"data":{"epoch":1.0}}');
INSERT INTO tuneledger.events VALUES (1, 7481659498784830411, 0, 'step', 1700000000, NULL);
INSERT INTO tuneledger.events VALUES (1, 7481659498784830411, 1, 'step', 1700000000, NULL);
INSERT INTO tuneledger.inputs VALUES (1, '0000000000000000000000000000000000000000000000000000000000000000', '0.json', 'job', 100, '0.1.0', 1795429628);
INSERT INTO tuneledger.inputs VALUES (1, '0000000000000000000000000000000000000000000000000000000000000001', '1.json', 'job', 101, '0.1.0', 1795429628);
INSERT INTO tuneledger.inputs VALUES (1, '0000000000000000000000000000000000000000000000000000000000000002', '2.json', 'job', 102, '0.1.0', 1795429628);
INSERT INTO tuneledger.inputs VALUES (2, '0000000000000000000000000000000000000000000000000000000000000003', '3.json', 'job', 103, '0.1.0', 1795429628);
INSERT INTO tuneledger.inputs VALUES (3, '0000000000000000000000000000000000000000000000000000000000000004', '4.json', 'job', 104, '0.1.0', 1795429628);
INSERT INTO tuneledger.job_digests VALUES (1, 5915675871723302999, 5915675871723302999);
INSERT INTO tuneledger.job_digests VALUES (2, 568598074639835244, 568598074639835244);
INSERT INTO tuneledger.job_digests VALUES (3, 8112999760650226588, 8112999760650226588);
INSERT INTO tuneledger.job_metrics VALUES (1, 1, 10, 30, 0.1, 200, 0.1, 30, 0.1, 30, 0.1);
INSERT INTO tuneledger.job_metrics VALUES (1, 2, 20, 10, 0.25, 200, 0.0125, 200, 0.0125, 10, 0.25);
INSERT INTO tuneledger.job_metrics VALUES (1, 3, 10, 20, 1.25, 200, 1.25, 20, 1.25, 20, 1.25);
INSERT INTO tuneledger.job_metrics VALUES (2, 4, 1, 9223372036854775807, 0.25, 9223372036854775807, 0.25, 9223372036854775807, 0.25, 9223372036854775807, 0.25);
INSERT INTO tuneledger.job_metrics VALUES (2, 5, 2, 0, 0.5, 9223372036854775807, 0.5, 0, 0.5, 0, 0.5);
INSERT INTO tuneledger.job_states VALUES (1, 1, 'QUEUED');
INSERT INTO tuneledger.job_states VALUES (1, 2, 'RUNNING');
INSERT INTO tuneledger.job_states VALUES (1, 3, 'SUCCESS');
INSERT INTO tuneledger.job_states VALUES (3, 0, 'failed');
INSERT INTO tuneledger.jobs VALUES (1, 'ftjob-älteste', 'mistral', 'open-mistral-7b', 'SUCCESS', 1700000000, 3, NULL, NULL, 4611686018427387904, 0.1, 'EUR', '{"hyperparameters":{"lr":1e-05,"seed":null},"ok":true,"weight":NaN}', NULL, 1795429628);
INSERT INTO tuneledger.jobs VALUES (2, 'run-2', 'huggingface', NULL, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL, '{}', NULL, 1795429628);
INSERT INTO tuneledger.jobs VALUES (3, 'empty', 'openai', NULL, 'failed', 0, 0, NULL, NULL, NULL, NULL, NULL, '{}', NULL, 1795429628);
INSERT INTO tuneledger.metric_names VALUES (1, 'grad_norm', 'grad_norm');
INSERT INTO tuneledger.metric_names VALUES (2, 'train_loss', 'train_loss');
INSERT INTO tuneledger.metric_names VALUES (3, 'valid_loss', 'valid_loss');
INSERT INTO tuneledger.metric_names VALUES (4, 'eval_loss', 'valid_loss');
INSERT INTO tuneledger.metric_names VALUES (5, 'loss', 'train_loss');
INSERT INTO tuneledger.metrics VALUES (1, 1, 10, NULL, 2);
INSERT INTO tuneledger.metrics VALUES (1, 1, 20, NULL, 4);
INSERT INTO tuneledger.metrics VALUES (1, 1, 30, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 1, 40, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 1, 50, NULL, 2);
INSERT INTO tuneledger.metrics VALUES (1, 1, 60, NULL, 4);
INSERT INTO tuneledger.metrics VALUES (1, 1, 70, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 1, 80, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 1, 90, NULL, 2);
INSERT INTO tuneledger.metrics VALUES (1, 1, 100, NULL, 4);
INSERT INTO tuneledger.metrics VALUES (1, 1, 110, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 1, 120, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 1, 130, NULL, 2);
INSERT INTO tuneledger.metrics VALUES (1, 1, 140, NULL, 4);
INSERT INTO tuneledger.metrics VALUES (1, 1, 150, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 1, 160, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 1, 170, NULL, 2);
INSERT INTO tuneledger.metrics VALUES (1, 1, 180, NULL, 4);
INSERT INTO tuneledger.metrics VALUES (1, 1, 190, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 1, 200, 0.1, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 10, 0.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 20, 0.125, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 30, 0.08333333333333333, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 40, 0.0625, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 50, 0.05, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 60, 0.041666666666666664, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 70, 0.03571428571428571, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 80, 0.03125, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 90, 0.027777777777777776, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 100, 0.025, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 110, 0.022727272727272728, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 120, 0.020833333333333332, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 130, 0.019230769230769232, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 140, 0.017857142857142856, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 150, 0.016666666666666666, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 160, 0.015625, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 170, 0.014705882352941176, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 180, 0.013888888888888888, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 190, 0.013157894736842105, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 2, 200, 0.0125, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 10, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 20, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 30, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 40, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 50, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 60, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 70, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 80, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 90, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 100, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 110, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 120, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 130, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 140, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 150, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 160, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 170, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 180, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (1, 3, 190, NULL, 6);
INSERT INTO tuneledger.metrics VALUES (1, 3, 200, 1.25, NULL);
INSERT INTO tuneledger.metrics VALUES (2, 4, 9223372036854775807, 0.25, NULL);
INSERT INTO tuneledger.metrics VALUES (2, 5, 0, 0.5, NULL);
INSERT INTO tuneledger.metrics VALUES (2, 5, 9223372036854775807, 0.5, NULL);
INSERT INTO tuneledger.tuneledger_version VALUES ('0005');
SELECT pg_catalog.setval('tuneledger.jobs_job_key_seq', 3, true);
SELECT pg_catalog.setval('tuneledger.metric_names_name_id_seq', 5, true);
ALTER TABLE ONLY tuneledger.checkpoints
    ADD CONSTRAINT pk_checkpoints PRIMARY KEY (job_key, step_number);
ALTER TABLE ONLY tuneledger.events
    ADD CONSTRAINT pk_events PRIMARY KEY (job_key, digest, occurrence);
ALTER TABLE ONLY tuneledger.inputs
    ADD CONSTRAINT pk_inputs PRIMARY KEY (job_key, sha256, name);
ALTER TABLE ONLY tuneledger.job_digests
    ADD CONSTRAINT pk_job_digests PRIMARY KEY (job_key);
ALTER TABLE ONLY tuneledger.job_labels
    ADD CONSTRAINT pk_job_labels PRIMARY KEY (job_key, label);
ALTER TABLE ONLY tuneledger.job_metrics
    ADD CONSTRAINT pk_job_metrics PRIMARY KEY (job_key, name_id);
ALTER TABLE ONLY tuneledger.job_states
    ADD CONSTRAINT pk_job_states PRIMARY KEY (job_key, revision, status);
ALTER TABLE ONLY tuneledger.jobs
    ADD CONSTRAINT pk_jobs PRIMARY KEY (job_key);
ALTER TABLE ONLY tuneledger.metric_names
    ADD CONSTRAINT pk_metric_names PRIMARY KEY (name_id);
ALTER TABLE ONLY tuneledger.metrics
    ADD CONSTRAINT pk_metrics PRIMARY KEY (job_key, name_id, step_number);
ALTER TABLE ONLY tuneledger.tuneledger_version
    ADD CONSTRAINT tuneledger_version_pkc PRIMARY KEY (version_num);
CREATE INDEX ix_jobs_created_at ON tuneledger.jobs USING btree (created_at DESC, job_key);
CREATE INDEX ix_metric_names_canonical ON tuneledger.metric_names USING btree (canonical);
CREATE UNIQUE INDEX uq_jobs_job_id ON tuneledger.jobs USING btree (job_id);
CREATE UNIQUE INDEX uq_metric_names_name ON tuneledger.metric_names USING btree (name);
ALTER TABLE ONLY tuneledger.checkpoints
    ADD CONSTRAINT fk_checkpoints_jobs FOREIGN KEY (job_key) REFERENCES tuneledger.jobs(job_key) ON DELETE CASCADE;
ALTER TABLE ONLY tuneledger.events
    ADD CONSTRAINT fk_events_jobs FOREIGN KEY (job_key) REFERENCES tuneledger.jobs(job_key) ON DELETE CASCADE;
ALTER TABLE ONLY tuneledger.inputs
    ADD CONSTRAINT fk_inputs_jobs FOREIGN KEY (job_key) REFERENCES tuneledger.jobs(job_key) ON DELETE CASCADE;
ALTER TABLE ONLY tuneledger.job_digests
    ADD CONSTRAINT fk_job_digests_jobs FOREIGN KEY (job_key) REFERENCES tuneledger.jobs(job_key) ON DELETE CASCADE;
ALTER TABLE ONLY tuneledger.job_labels
    ADD CONSTRAINT fk_job_labels_jobs FOREIGN KEY (job_key) REFERENCES tuneledger.jobs(job_key) ON DELETE CASCADE;
ALTER TABLE ONLY tuneledger.job_metrics
    ADD CONSTRAINT fk_job_metrics_jobs FOREIGN KEY (job_key) REFERENCES tuneledger.jobs(job_key) ON DELETE CASCADE;
ALTER TABLE ONLY tuneledger.job_states
    ADD CONSTRAINT fk_job_states_jobs FOREIGN KEY (job_key) REFERENCES tuneledger.jobs(job_key) ON DELETE CASCADE;
