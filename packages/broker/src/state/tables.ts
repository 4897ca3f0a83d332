/**
 * What the broker keeps, as both engines hold it: text, whole numbers, bytes. Times are ISO 8601 in UTC with
 * milliseconds, so that they compare as text. `mac` authenticates the row under the state's keys (`StateKeys.mac`): a
 * row that was edited by hand is refused when it is read. Names of resources and policies, policies, claims and keys
 * are sealed (`StateKeys.seal`), and found by a keyed digest of the name.
 */
export interface Tables {
  /** One row for each fact about the whole database: `database` (its id), `checkpoint` (a lock). */
  broker_state: { name: string; value: string };
  /** The key that everything else is sealed under, wrapped by a master key. */
  root_keys: { id: string; master: string; wrapped: Uint8Array; created_at: string };
  /** A chain of record entries for each replica: where it ends, and the highest time that it has seen. */
  replicas: { id: string; sequence: number; hash: Uint8Array; seen_at: string; mac: Uint8Array };
  record_entries: RecordEntryRow;
  record_checkpoints: { number: number; at: string; document: string; signature: Uint8Array };
  resources: ResourceRow;
  resource_versions: ResourceVersionRow;
  /** Who got a release that is counted: the same key in the same session gets it again. */
  released: {
    resource_id: string;
    version: number;
    guest_key: string;
    session_id: string;
    released_at: string;
    mac: Uint8Array;
  };
  /** The machines that ever got a resource, by keyed digest. */
  resource_machines: { resource_id: string; machine: Uint8Array; first_at: string };
  policies: {
    id: string;
    kind: string;
    name: Uint8Array;
    name_digest: Uint8Array;
    state: 'enabled' | 'deleted';
    latest_version: number;
    mac: Uint8Array;
  };
  policy_versions: {
    policy_id: string;
    version: number;
    content: Uint8Array;
    author: string;
    created_at: string;
  };
  reference_values: {
    issuer: string;
    name: string;
    version: number;
    document: Uint8Array;
    not_before: string;
    not_after: string;
    created_at: string;
    mac: Uint8Array;
  };
  /** Keys that sign tokens. `not_after` ends signing, `published_until` ends the overlap in which it still verifies. */
  signing_keys: {
    id: string;
    algorithm: string;
    public_key: string;
    private_key: Uint8Array;
    created_at: string;
    not_before: string;
    not_after: string | null;
    published_until: string | null;
    mac: Uint8Array;
  };
  admin_tokens: {
    id: string;
    token_digest: Uint8Array;
    role: string;
    label: Uint8Array;
    created_at: string;
    expires_at: string;
    revoked_at: string | null;
    mac: Uint8Array;
  };
  challenge_sessions: ChallengeSessionRow;
  /** Answers of the key service by its paths: public, and verified whenever they are used. */
  endorsements: { path: string; content: Uint8Array; fetched_at: string };
  launch_sessions: {
    launch_id: string;
    state: 'pending' | 'used' | 'expired';
    expires_at: string;
    ended_at: string | null;
    /** Sealed; gone when the session has ended. */
    content: Uint8Array | null;
  };
}

export interface RecordEntryRow {
  replica: string;
  /** Counts from 1 in each replica, without gaps. */
  sequence: number;
  /** The number that a guest is given and an operator asks about. */
  reference: string;
  at: string;
  kind: string;
  /** Keyed digest of what the entry is about, to find entries without opening all. */
  subject: Uint8Array | null;
  /** Sealed. */
  body: Uint8Array;
  previous: Uint8Array;
  hash: Uint8Array;
}

export interface ResourceRow {
  id: string;
  /** Sealed path. */
  name: Uint8Array;
  name_digest: Uint8Array;
  state: 'enabled' | 'disabled' | 'deleted';
  latest_version: number;
  /** The policy that decides over its release; the broker's default where there is none. */
  policy_id: string | null;
  created_at: string;
  mac: Uint8Array;
}

export interface ResourceVersionRow {
  resource_id: string;
  version: number;
  state: 'enabled' | 'disabled' | 'deleted';
  not_before: string | null;
  not_after: string | null;
  /** How often it may be released; not counted where there is none. */
  release_limit: number | null;
  released: number;
  /** Gone, like the ciphertext, once the version is deleted. */
  wrapped_key: Uint8Array | null;
  ciphertext: Uint8Array | null;
  created_at: string;
  mac: Uint8Array;
}

export interface ChallengeSessionRow {
  /** Digest of the cookie's value: who reads the database cannot take a session over. */
  id: string;
  tee: string;
  protocol_version: string;
  nonce: string;
  /** `refused`: answered by evidence that was refused, and so used up. */
  state: 'challenged' | 'attested' | 'refused';
  created_at: string;
  expires_at: string;
  attested_at: string | null;
  /** Digest of the evidence that answered it: the very same may come again, anything else is refused. */
  evidence_digest: Uint8Array | null;
  guest_key: string | null;
  guest_key_thumbprint: string | null;
  /** Sealed. */
  claims: Uint8Array | null;
  /** Sealed. */
  token: Uint8Array | null;
  mac: Uint8Array;
}
