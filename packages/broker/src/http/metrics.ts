import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/**
 * What is counted, under Trustee's names where Trustee has one, so that dashboards go on working; without its labels that
 * name resources.
 */
export interface BrokerMetrics {
  request(labels: { method: string; route: string; status: number }, seconds: number): void;
  connections(change: 1 | -1): void;
  challenge(outcome: 'given' | 'refused'): void;
  attestation(outcome: 'accepted' | 'refused', tee: string): void;
  decision(outcome: 'allowed' | 'denied'): void;
  release(outcome: 'released' | 'absent' | 'used-up'): void;
  secretWritten(change: 'stored' | 'withdrawn'): void;
  /** Whether a revocation list is fresh enough, for each kind of key and product line. */
  endorsements(subject: string, fresh: boolean): void;
  /** Prometheus text. */
  text(): Promise<{ readonly contentType: string; readonly body: string }>;
}

export function createMetrics(build: { readonly version: string }): BrokerMetrics {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[] = []) =>
    new Counter({ name, help, labelNames: [...labelNames], registers });
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'kbs_build_info',
    help: 'Version of this broker.',
    labelNames: ['version'],
    registers,
  }).set(build, 1);

  const requests = counter('kbs_http_requests_total', 'Requests answered.', ['method', 'route', 'status']);
  const durations = new Histogram({
    name: 'kbs_http_request_duration_seconds',
    help: 'Time from a request to the end of its answer.',
    labelNames: ['method', 'route'],
    buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10],
    registers,
  });
  const active = new Gauge({
    name: 'kbs_http_active_connections',
    help: 'Connections that are open.',
    registers,
  });
  const challenges = counter('kbs_auth_requests_total', 'Challenges asked for.');
  const challenged = counter('kbs_auth_successes_total', 'Challenges given.');
  const unchallenged = counter('kbs_auth_errors_total', 'Challenges refused.');
  const attestations = counter('kbs_attestation_requests_total', 'Attestations judged.');
  const accepted = counter('kbs_attestation_successes_total', 'Attestations accepted.', ['tee_type']);
  const refused = counter('kbs_attestation_failures_total', 'Attestations refused.', ['tee_type']);
  const evaluations = counter('kbs_policy_evaluations_total', 'Decisions made.');
  const approvals = counter('kbs_policy_approvals_total', 'Decisions to release.');
  const violations = counter('kbs_policy_violations_total', 'Decisions not to release.');
  const releases = counter('vouchsafe_releases_total', 'Secrets asked for after a yes.', ['outcome']);
  const writes = counter('vouchsafe_secret_writes_total', 'Secrets stored or withdrawn.', ['change']);
  const fresh = new Gauge({
    name: 'vouchsafe_revocation_fresh',
    help: '1 when the revocation list is fresh enough to judge by.',
    labelNames: ['subject'],
    registers,
  });

  return {
    request({ method, route, status }, seconds) {
      requests.inc({ method, route, status: String(status) });
      durations.observe({ method, route }, seconds);
    },
    connections: (change) => active.inc(change),
    challenge(outcome) {
      challenges.inc();
      (outcome === 'given' ? challenged : unchallenged).inc();
    },
    attestation(outcome, tee) {
      attestations.inc();
      (outcome === 'accepted' ? accepted : refused).inc({ tee_type: tee });
    },
    decision(outcome) {
      evaluations.inc();
      (outcome === 'allowed' ? approvals : violations).inc();
    },
    release: (outcome) => releases.inc({ outcome }),
    secretWritten: (change) => writes.inc({ change }),
    endorsements: (subject, isFresh) => fresh.set({ subject }, isFresh ? 1 : 0),
    text: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
  };
}
