PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE tuneledger_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT tuneledger_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO tuneledger_version VALUES('0005');
CREATE TABLE jobs (
	job_key INTEGER NOT NULL, 
	job_id TEXT NOT NULL, 
	provider TEXT NOT NULL, 
	model TEXT, 
	status TEXT, 
	created_at BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	finished_at BIGINT, 
	fine_tuned_model TEXT, 
	trained_tokens BIGINT, 
	cost DOUBLE, 
	cost_currency TEXT, 
	document TEXT NOT NULL, 
	older_fields TEXT, 
	archived_at BIGINT NOT NULL, 
	CONSTRAINT pk_jobs PRIMARY KEY (job_key), 
	CONSTRAINT ck_jobs_created_at CHECK (typeof(created_at) = 'integer' AND created_at >= 0), 
	CONSTRAINT ck_jobs_revision CHECK (typeof(revision) = 'integer' AND revision >= 0)
);
INSERT INTO jobs VALUES(1,'ftjob-älteste','mistral','open-mistral-7b','SUCCESS',1700000000,3,NULL,NULL,4611686018427387904,0.10000000000000000555,'EUR','{"hyperparameters":{"lr":1e-05,"seed":null},"ok":true,"weight":NaN}',NULL,1795429626);
INSERT INTO jobs VALUES(2,'run-2','huggingface',NULL,NULL,0,0,NULL,NULL,NULL,NULL,NULL,'{}',NULL,1795429626);
INSERT INTO jobs VALUES(3,'empty','openai',NULL,'failed',0,0,NULL,NULL,NULL,NULL,NULL,'{}',NULL,1795429626);
CREATE TABLE job_digests (
	job_key INTEGER NOT NULL, 
	digest BIGINT NOT NULL, summary_digest BIGINT, 
	CONSTRAINT pk_job_digests PRIMARY KEY (job_key), 
	CONSTRAINT fk_job_digests_jobs FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE
);
INSERT INTO job_digests VALUES(1,5915675871723302999,5915675871723302999);
INSERT INTO job_digests VALUES(2,568598074639835244,568598074639835244);
INSERT INTO job_digests VALUES(3,8112999760650226588,8112999760650226588);
CREATE TABLE job_states (
	job_key BIGINT NOT NULL, 
	revision BIGINT NOT NULL, 
	status TEXT NOT NULL, 
	CONSTRAINT pk_job_states PRIMARY KEY (job_key, revision, status), 
	CONSTRAINT fk_job_states_jobs FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE, 
	CONSTRAINT ck_job_states_revision CHECK (typeof(revision) = 'integer' AND revision >= 0)
)
 WITHOUT ROWID

;
INSERT INTO job_states VALUES(1,1,'QUEUED');
INSERT INTO job_states VALUES(1,2,'RUNNING');
INSERT INTO job_states VALUES(1,3,'SUCCESS');
INSERT INTO job_states VALUES(3,0,'failed');
CREATE TABLE checkpoints (
	job_key BIGINT NOT NULL, 
	step_number BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	extra TEXT, 
	digest BIGINT NOT NULL, 
	CONSTRAINT pk_checkpoints PRIMARY KEY (job_key, step_number), 
	CONSTRAINT fk_checkpoints_jobs FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE, 
	CONSTRAINT ck_checkpoints_step_number CHECK (typeof(step_number) = 'integer' AND step_number >= 0), 
	CONSTRAINT ck_checkpoints_created_at CHECK (typeof(created_at) = 'integer' AND created_at >= 0)
)
 WITHOUT ROWID

;
INSERT INTO checkpoints VALUES(1,10,1700000010,NULL,7497386568228501061);
INSERT INTO checkpoints VALUES(1,20,1700000020,NULL,3773571017811987237);
INSERT INTO checkpoints VALUES(1,30,1700000030,NULL,5652501194560983984);
INSERT INTO checkpoints VALUES(1,40,1700000040,NULL,3502115450589588040);
INSERT INTO checkpoints VALUES(1,50,1700000050,NULL,874814236170841973);
INSERT INTO checkpoints VALUES(1,60,1700000060,NULL,3534092369103696168);
INSERT INTO checkpoints VALUES(1,70,1700000070,NULL,6178554560872357850);
INSERT INTO checkpoints VALUES(1,80,1700000080,NULL,2125261903679631371);
INSERT INTO checkpoints VALUES(1,90,1700000090,NULL,9038209444443096087);
INSERT INTO checkpoints VALUES(1,100,1700000100,NULL,7595222901224141124);
INSERT INTO checkpoints VALUES(1,110,1700000110,NULL,6568486698717663242);
INSERT INTO checkpoints VALUES(1,120,1700000120,NULL,6200675748415921344);
INSERT INTO checkpoints VALUES(1,130,1700000130,NULL,7872556148931701952);
INSERT INTO checkpoints VALUES(1,140,1700000140,NULL,7882836912409218071);
INSERT INTO checkpoints VALUES(1,150,1700000150,NULL,6407966665601065281);
INSERT INTO checkpoints VALUES(1,160,1700000160,NULL,1569836476529821396);
INSERT INTO checkpoints VALUES(1,170,1700000170,NULL,8873221909008665541);
INSERT INTO checkpoints VALUES(1,180,1700000180,NULL,4402190906479269635);
INSERT INTO checkpoints VALUES(1,190,1700000190,NULL,3973546410905051228);
INSERT INTO checkpoints VALUES(1,200,1700000200,NULL,4099174501510030783);
INSERT INTO checkpoints VALUES(2,0,0,'{"metrics":{"big":9223372036854775809,"note":"text"}}',6626600977680180739);
INSERT INTO checkpoints VALUES(2,9223372036854775807,0,NULL,4557833098677992767);
CREATE TABLE metric_names (
	name_id INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	canonical TEXT NOT NULL, 
	CONSTRAINT pk_metric_names PRIMARY KEY (name_id)
);
INSERT INTO metric_names VALUES(1,'grad_norm','grad_norm');
INSERT INTO metric_names VALUES(2,'train_loss','train_loss');
INSERT INTO metric_names VALUES(3,'valid_loss','valid_loss');
INSERT INTO metric_names VALUES(4,'eval_loss','valid_loss');
INSERT INTO metric_names VALUES(5,'loss','train_loss');
CREATE TABLE job_metrics (
	job_key BIGINT NOT NULL, 
	name_id INTEGER NOT NULL, number_count BIGINT, first_step BIGINT, first_value DOUBLE, last_step BIGINT, last_value DOUBLE, min_step BIGINT, min_value DOUBLE, max_step BIGINT, max_value DOUBLE, 
	CONSTRAINT pk_job_metrics PRIMARY KEY (job_key, name_id), 
	CONSTRAINT fk_job_metrics_jobs FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO job_metrics VALUES(1,1,10,30,0.10000000000000000555,200,0.10000000000000000555,30,0.10000000000000000555,30,0.10000000000000000555);
INSERT INTO job_metrics VALUES(1,2,20,10,0.25,200,0.012500000000000000693,200,0.012500000000000000693,10,0.25);
INSERT INTO job_metrics VALUES(1,3,10,20,1.25,200,1.25,20,1.25,20,1.25);
INSERT INTO job_metrics VALUES(2,4,1,9223372036854775807,0.25,9223372036854775807,0.25,9223372036854775807,0.25,9223372036854775807,0.25);
INSERT INTO job_metrics VALUES(2,5,2,0,0.5,9223372036854775807,0.5,0,0.5,0,0.5);
CREATE TABLE metrics (
	job_key BIGINT NOT NULL, 
	name_id INTEGER NOT NULL, 
	step_number BIGINT NOT NULL, 
	value DOUBLE, 
	kind SMALLINT, 
	CONSTRAINT pk_metrics PRIMARY KEY (job_key, name_id, step_number), 
	CONSTRAINT ck_metrics_step_number CHECK (typeof(step_number) = 'integer' AND step_number >= 0), 
	CONSTRAINT ck_metrics_kind CHECK ((kind IS NULL AND value IS NOT NULL AND value BETWEEN -1.7976931348623157e308 AND 1.7976931348623157e308) OR (kind = 5 AND value IS NOT NULL AND value = 0) OR (kind IS NOT NULL AND kind IN (1, 2, 3, 4, 6) AND value IS NULL))
)
 WITHOUT ROWID

;
INSERT INTO metrics VALUES(1,1,10,NULL,2);
INSERT INTO metrics VALUES(1,1,20,NULL,4);
INSERT INTO metrics VALUES(1,1,30,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,1,40,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,1,50,NULL,2);
INSERT INTO metrics VALUES(1,1,60,NULL,4);
INSERT INTO metrics VALUES(1,1,70,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,1,80,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,1,90,NULL,2);
INSERT INTO metrics VALUES(1,1,100,NULL,4);
INSERT INTO metrics VALUES(1,1,110,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,1,120,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,1,130,NULL,2);
INSERT INTO metrics VALUES(1,1,140,NULL,4);
INSERT INTO metrics VALUES(1,1,150,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,1,160,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,1,170,NULL,2);
INSERT INTO metrics VALUES(1,1,180,NULL,4);
INSERT INTO metrics VALUES(1,1,190,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,1,200,0.10000000000000000555,NULL);
INSERT INTO metrics VALUES(1,2,10,0.25,NULL);
INSERT INTO metrics VALUES(1,2,20,0.125,NULL);
INSERT INTO metrics VALUES(1,2,30,0.083333333333333328707,NULL);
INSERT INTO metrics VALUES(1,2,40,0.0625,NULL);
INSERT INTO metrics VALUES(1,2,50,0.050000000000000002775,NULL);
INSERT INTO metrics VALUES(1,2,60,0.041666666666666664353,NULL);
INSERT INTO metrics VALUES(1,2,70,0.035714285714285712303,NULL);
INSERT INTO metrics VALUES(1,2,80,0.03125,NULL);
INSERT INTO metrics VALUES(1,2,90,0.027777777777777776235,NULL);
INSERT INTO metrics VALUES(1,2,100,0.025000000000000001387,NULL);
INSERT INTO metrics VALUES(1,2,110,0.022727272727272727903,NULL);
INSERT INTO metrics VALUES(1,2,120,0.020833333333333332176,NULL);
INSERT INTO metrics VALUES(1,2,130,0.019230769230769231836,NULL);
INSERT INTO metrics VALUES(1,2,140,0.017857142857142856151,NULL);
INSERT INTO metrics VALUES(1,2,150,0.016666666666666666435,NULL);
INSERT INTO metrics VALUES(1,2,160,0.015625,NULL);
INSERT INTO metrics VALUES(1,2,170,0.014705882352941176266,NULL);
INSERT INTO metrics VALUES(1,2,180,0.013888888888888888117,NULL);
INSERT INTO metrics VALUES(1,2,190,0.013157894736842104532,NULL);
INSERT INTO metrics VALUES(1,2,200,0.012500000000000000693,NULL);
INSERT INTO metrics VALUES(1,3,10,NULL,6);
INSERT INTO metrics VALUES(1,3,20,1.25,NULL);
INSERT INTO metrics VALUES(1,3,30,NULL,6);
INSERT INTO metrics VALUES(1,3,40,1.25,NULL);
INSERT INTO metrics VALUES(1,3,50,NULL,6);
INSERT INTO metrics VALUES(1,3,60,1.25,NULL);
INSERT INTO metrics VALUES(1,3,70,NULL,6);
INSERT INTO metrics VALUES(1,3,80,1.25,NULL);
INSERT INTO metrics VALUES(1,3,90,NULL,6);
INSERT INTO metrics VALUES(1,3,100,1.25,NULL);
INSERT INTO metrics VALUES(1,3,110,NULL,6);
INSERT INTO metrics VALUES(1,3,120,1.25,NULL);
INSERT INTO metrics VALUES(1,3,130,NULL,6);
INSERT INTO metrics VALUES(1,3,140,1.25,NULL);
INSERT INTO metrics VALUES(1,3,150,NULL,6);
INSERT INTO metrics VALUES(1,3,160,1.25,NULL);
INSERT INTO metrics VALUES(1,3,170,NULL,6);
INSERT INTO metrics VALUES(1,3,180,1.25,NULL);
INSERT INTO metrics VALUES(1,3,190,NULL,6);
INSERT INTO metrics VALUES(1,3,200,1.25,NULL);
INSERT INTO metrics VALUES(2,4,9223372036854775807,0.25,NULL);
INSERT INTO metrics VALUES(2,5,0,0.5,NULL);
INSERT INTO metrics VALUES(2,5,9223372036854775807,0.5,NULL);
CREATE TABLE events (
	job_key BIGINT NOT NULL, 
	digest BIGINT NOT NULL, 
	occurrence INTEGER NOT NULL, 
	name TEXT NOT NULL, 
	created_at BIGINT NOT NULL, 
	data TEXT, 
	CONSTRAINT pk_events PRIMARY KEY (job_key, digest, occurrence), 
	CONSTRAINT fk_events_jobs FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO events VALUES(1,4863970281373657498,0,'Ende',1700000300,'{"data":{"epoch":1.0}}');
INSERT INTO events VALUES(1,7481659498784830411,0,'step',1700000000,NULL);
INSERT INTO events VALUES(1,7481659498784830411,1,'step',1700000000,NULL);
CREATE TABLE inputs (
	job_key BIGINT NOT NULL, 
	sha256 TEXT NOT NULL, 
	name TEXT NOT NULL, 
	format TEXT NOT NULL, 
	size_bytes BIGINT NOT NULL, 
	tuneledger_version TEXT NOT NULL, 
	archived_at BIGINT NOT NULL, 
	CONSTRAINT pk_inputs PRIMARY KEY (job_key, sha256, name), 
	CONSTRAINT fk_inputs_jobs FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE
)
 WITHOUT ROWID

;
INSERT INTO inputs VALUES(1,'0000000000000000000000000000000000000000000000000000000000000000','0.json','job',100,'0.1.0',1795429626);
INSERT INTO inputs VALUES(1,'0000000000000000000000000000000000000000000000000000000000000001','1.json','job',101,'0.1.0',1795429626);
INSERT INTO inputs VALUES(1,'0000000000000000000000000000000000000000000000000000000000000002','2.json','job',102,'0.1.0',1795429626);
INSERT INTO inputs VALUES(2,'0000000000000000000000000000000000000000000000000000000000000003','3.json','job',103,'0.1.0',1795429626);
INSERT INTO inputs VALUES(3,'0000000000000000000000000000000000000000000000000000000000000004','4.json','job',104,'0.1.0',1795429626);
CREATE TABLE job_labels (
	job_key BIGINT NOT NULL, 
	label TEXT NOT NULL, 
	CONSTRAINT pk_job_labels PRIMARY KEY (job_key, label), 
	CONSTRAINT fk_job_labels_jobs FOREIGN KEY(job_key) REFERENCES jobs (job_key) ON DELETE CASCADE
)
 WITHOUT ROWID

;
CREATE UNIQUE INDEX uq_jobs_job_id ON jobs (job_id);
CREATE INDEX ix_jobs_created_at ON jobs (created_at DESC, job_key);
CREATE UNIQUE INDEX uq_metric_names_name ON metric_names (name);
CREATE INDEX ix_metric_names_canonical ON metric_names (canonical);
CREATE VIEW points AS
        SELECT CASE WHEN c.created_at > 0 THEN strftime('%Y-%m-%dT%H:%M:%SZ', c.created_at, 'unixepoch') END AS time, j.job_id, j.provider, j.model,
               m.step_number AS step, n.name AS metric, m.value
        FROM jobs AS j
        JOIN metrics AS m ON m.job_key = j.job_key
        JOIN metric_names AS n ON n.name_id = m.name_id
        LEFT JOIN checkpoints AS c ON c.job_key = m.job_key AND c.step_number = m.step_number;
CREATE VIEW wide_checkpoints AS
        SELECT CASE WHEN c.created_at > 0 THEN strftime('%Y-%m-%dT%H:%M:%SZ', c.created_at, 'unixepoch') END AS time, j.job_id, j.provider, j.model,
               c.step_number AS step,
               (
            SELECT m.value
            FROM metric_names AS n
            CROSS JOIN metrics AS m WHERE m.job_key = c.job_key AND m.name_id = n.name_id AND m.step_number = c.step_number
            AND n.canonical = 'train_loss'
            ORDER BY CASE WHEN n.name = n.canonical THEN 0 ELSE 1 END, n.name
            LIMIT 1
        ) AS train_loss,
               (
            SELECT m.value
            FROM metric_names AS n
            CROSS JOIN metrics AS m WHERE m.job_key = c.job_key AND m.name_id = n.name_id AND m.step_number = c.step_number
            AND n.canonical = 'valid_loss'
            ORDER BY CASE WHEN n.name = n.canonical THEN 0 ELSE 1 END, n.name
            LIMIT 1
        ) AS valid_loss,
               (
            SELECT m.value
            FROM metric_names AS n
            CROSS JOIN metrics AS m WHERE m.job_key = c.job_key AND m.name_id = n.name_id AND m.step_number = c.step_number
            AND n.canonical = 'valid_mean_token_accuracy'
            ORDER BY CASE WHEN n.name = n.canonical THEN 0 ELSE 1 END, n.name
            LIMIT 1
        ) AS valid_mean_token_accuracy
        FROM jobs AS j
        JOIN checkpoints AS c ON c.job_key = j.job_key;
CREATE VIEW job_status_history AS
        SELECT CASE WHEN j.created_at > 0 AND s.revision BETWEEN j.created_at AND 253402300799 THEN CASE WHEN s.revision > 0 THEN strftime('%Y-%m-%dT%H:%M:%SZ', s.revision, 'unixepoch') END END AS time,
               j.job_id, j.provider, j.model, s.revision, s.status
        FROM jobs AS j
        JOIN job_states AS s ON s.job_key = j.job_key;
CREATE VIEW job_events AS
        SELECT CASE WHEN e.created_at > 0 THEN strftime('%Y-%m-%dT%H:%M:%SZ', e.created_at, 'unixepoch') END AS time, j.job_id, j.provider, j.model, e.name AS event, e.data
        FROM jobs AS j
        JOIN events AS e ON e.job_key = j.job_key;
CREATE VIEW job_metric_names AS
        SELECT j.job_id, j.provider, j.model, n.name AS metric, n.canonical
        FROM jobs AS j
        JOIN job_metrics AS s ON s.job_key = j.job_key
        JOIN metric_names AS n ON n.name_id = s.name_id;
CREATE VIEW comparison AS
        SELECT j.job_id, j.provider, j.model, n.canonical AS metric, m.step_number AS step,
               COALESCE(CAST(m.step_number AS double precision) / NULLIF(
                   CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.last_step
                        ELSE (
                            SELECT max(l.step_number) FROM metrics AS l
                            WHERE l.job_key = s.job_key AND l.name_id = s.name_id AND l.value IS NOT NULL
                        ) END, 0), 1) AS relative_step,
               m.value
        FROM jobs AS j
        JOIN job_digests AS d ON d.job_key = j.job_key
        JOIN job_metrics AS s ON s.job_key = j.job_key
        JOIN metric_names AS n ON n.name_id = s.name_id
        CROSS JOIN metrics AS m
        WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value IS NOT NULL
          AND NOT EXISTS (
              SELECT 1 FROM job_metrics AS better
              JOIN metric_names AS b ON b.name_id = better.name_id
              WHERE better.job_key = s.job_key AND b.canonical = n.canonical
                AND (b.name <> b.canonical, b.name) < (n.name <> n.canonical, n.name)
          );
CREATE VIEW job_overview AS
        SELECT CASE WHEN j.created_at > 0 THEN strftime('%Y-%m-%dT%H:%M:%SZ', j.created_at, 'unixepoch') END AS time, j.job_id, j.provider, j.model, j.status,
               CASE WHEN j.finished_at > 0 THEN strftime('%Y-%m-%dT%H:%M:%SZ', j.finished_at, 'unixepoch') END AS finished,
               CASE WHEN j.created_at > 0 AND j.finished_at >= j.created_at
                    THEN j.finished_at - j.created_at END AS duration_seconds,
               j.trained_tokens, j.cost, j.cost_currency, j.fine_tuned_model,
               (SELECT max(c.step_number) FROM checkpoints AS c WHERE c.job_key = d.job_key)
                   AS last_step
        FROM jobs AS j
        JOIN job_digests AS d ON d.job_key = j.job_key;
CREATE VIEW job_summary AS
        SELECT j.job_id, j.provider, j.model, n.name AS metric,
               CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.number_count ELSE (
            SELECT count(m.value) FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id 
        ) END AS number_count, CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.first_step ELSE (
            SELECT m.step_number FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value IS NOT NULL ORDER BY m.step_number LIMIT 1
        ) END AS first_step, CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.first_value ELSE (
            SELECT m.value FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value IS NOT NULL ORDER BY m.step_number LIMIT 1
        ) END AS first_value, CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.last_step ELSE (
            SELECT m.step_number FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value IS NOT NULL ORDER BY m.step_number DESC LIMIT 1
        ) END AS last_step, CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.last_value ELSE (
            SELECT m.value FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value IS NOT NULL ORDER BY m.step_number DESC LIMIT 1
        ) END AS last_value, CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.min_step ELSE (
            SELECT m.step_number FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value IS NOT NULL ORDER BY m.value, m.step_number LIMIT 1
        ) END AS min_step, CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.min_value ELSE (
            SELECT m.value FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value IS NOT NULL ORDER BY m.value, m.step_number LIMIT 1
        ) END AS min_value, CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.max_step ELSE (
            SELECT m.step_number FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value IS NOT NULL ORDER BY m.value DESC, m.step_number LIMIT 1
        ) END AS max_step, CASE WHEN d.summary_digest = d.digest AND s.number_count IS NOT NULL THEN s.max_value ELSE (
            SELECT m.value FROM metrics AS m
            WHERE m.job_key = s.job_key AND m.name_id = s.name_id AND m.value IS NOT NULL ORDER BY m.value DESC, m.step_number LIMIT 1
        ) END AS max_value
        FROM jobs AS j
        JOIN job_digests AS d ON d.job_key = j.job_key
        JOIN job_metrics AS s ON s.job_key = d.job_key
        JOIN metric_names AS n ON n.name_id = s.name_id;
COMMIT;
