import { type Appraisal, Appraiser, constantTimeEqual, equalBytes } from '@vouchsafe/sev';
import type { StateKeys } from '../secrets/state-keys.js';
import { type Database, inSnapshot, type Queries } from '../state/database.js';
import {
  type Checkpoint,
  documentHash,
  isSignedBy,
  noCheckpoint,
  readCheckpoint,
  type SignedCheckpoint,
} from './checkpoint.js';
import { Findings, type RecordCheck, recordChecks } from './checks.js';
import type { OutsideCopy } from './outside-copy.js';
import { RecordedState } from './recorded/state.js';
import { verifyChain } from './verify-chain.js';

export interface VerifyRecordOptions {
  readonly db: Database;
  readonly keys: StateKeys;
  /** Where the newest checkpoint is kept outside; without one a rollback of everything cannot be noticed. */
  readonly outside?: OutsideCopy;
}

type Problem = (check: RecordCheck, text: string) => void;

/**
 * Reads the whole record, as it is at one moment, and says for each check whether it holds and, where it does not, at
 * which entry. The broker may go on meanwhile.
 * @throws UnavailableError when the database cannot be read
 */
export async function verifyRecord(options: VerifyRecordOptions): Promise<Appraisal> {
  const { db, keys, outside } = options;
  const appraiser = new Appraiser('record', recordChecks);
  // Before the database is read: it is never behind what was known outside earlier.
  const outsideCheckpoint = await readOutside(outside);

  const findings = new Map<RecordCheck, Findings>();
  const problem: Problem = (check, text) => {
    const list = findings.get(check) ?? new Findings();
    findings.set(check, list);
    list.add(text);
  };
  const { entries, replicas, checkpoints } = await inSnapshot(db, (query) =>
    readAll({ query }, keys, problem),
  );

  const report = (check: RecordCheck, expected: string, good: string) => {
    const found = findings.get(check);
    appraiser.report(check, found === undefined, { expected, found: found?.toString() ?? good });
  };
  const amount = `${entries} entries of ${replicas} ${replicas === 1 ? 'replica' : 'replicas'}`;
  const count = checkpoints.size;
  report('record.chain', 'every entry with its hash and the one before it', amount);
  report('record.sealed', 'every entry to open in its place', amount);
  report('record.clock', 'times in order', amount);
  report('record.heads', 'every chain to end where its replica left it', amount);
  report('record.checkpoints', 'every checkpoint signed, after the one before it', `${count} checkpoints`);
  report('record.joined', 'every chain through all places that checkpoints name', `${count} checkpoints`);
  report('record.state', 'everything as the record says that it was left', 'the same');

  if (outside === undefined) {
    appraiser.notAsked(
      'record.outside',
      'a rollback of the whole database could not be noticed: keep a checkpoint file or a witness, and name it',
    );
  } else {
    const { found, passed } = compareOutside(keys, outsideCheckpoint, checkpoints, entries);
    appraiser.report('record.outside', passed, { expected: `the checkpoint of ${outside.name}`, found });
  }
  return appraiser.finish();
}

type Outside = SignedCheckpoint | Error | undefined;

async function readOutside(outside: OutsideCopy | undefined): Promise<Outside> {
  try {
    return await outside?.read();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    return error;
  }
}

function compareOutside(
  keys: StateKeys,
  outside: Outside,
  checkpoints: ReadonlyMap<number, string>,
  entries: number,
): { passed: boolean; found: string } {
  if (outside === undefined) return { passed: false, found: 'no checkpoint there' };
  if (outside instanceof Error) return { passed: false, found: outside.message };
  if (!isSignedBy(keys.checkpointKey, outside)) {
    return { passed: false, found: 'a checkpoint that another database signed' };
  }
  const { number, at, heads } = readCheckpoint(outside.document);
  const known = checkpoints.get(number);
  if (known === undefined)
    return { passed: false, found: `no checkpoint ${number} of ${at} in the database` };
  if (known !== outside.document) {
    return { passed: false, found: `another checkpoint ${number} in the database` };
  }
  const covered = heads.reduce((sum, { sequence }) => sum + sequence, 0);
  return {
    passed: true,
    found: `checkpoint ${number} of ${at}; ${entries - covered} entries since, whose rollback could not be noticed`,
  };
}

async function readAll(queries: Queries, keys: StateKeys, problem: Problem) {
  const { places, documents } = await readCheckpoints(queries, keys, problem);
  const heads = await queries.query.selectFrom('replicas').selectAll().orderBy('id').execute();
  const inEntries = await queries.query.selectFrom('record_entries').select('replica').distinct().execute();
  const replicas = new Set([
    ...heads.map(({ id }) => id),
    ...inEntries.map(({ replica }) => replica),
    ...places.keys(),
  ]);
  const state = new RecordedState(keys);
  let entries = 0;
  let unopened = 0;

  for (const replica of [...replicas].sort()) {
    const wanted = places.get(replica) ?? new Map<number, string>();
    const end = await verifyChain(queries, keys, replica, {
      problem,
      entry: (entry) => state.note(entry),
      place(sequence, hash) {
        entries++;
        const expected = wanted.get(sequence);
        wanted.delete(sequence);
        if (expected !== undefined && expected !== hash) {
          problem(
            'record.joined',
            `entry ${sequence} of replica ${replica} is not the one of the checkpoints`,
          );
        }
      },
    });
    unopened += end.unopened;
    for (const sequence of wanted.keys()) {
      if (sequence > 0) problem('record.joined', `entry ${sequence} of replica ${replica} is missing`);
    }
    const head = heads.find(({ id }) => id === replica);
    if (head === undefined) {
      problem('record.heads', `nothing says where the chain of replica ${replica} ends`);
    } else if (
      !(head.mac instanceof Uint8Array) ||
      !constantTimeEqual(keys.mac('replicas', head), head.mac)
    ) {
      problem('record.heads', `the end of replica ${replica} was not written by this broker`);
    } else if (head.sequence !== end.sequence || !equalBytes(head.hash, end.hash)) {
      problem(
        'record.heads',
        `replica ${replica} ends with entry ${end.sequence}, it had got to ${head.sequence}`,
      );
    }
  }
  if (unopened > 0) problem('record.state', `not compared: ${unopened} entries cannot be opened`);
  else for (const difference of await state.differences(queries)) problem('record.state', difference);
  return { entries, replicas: replicas.size, checkpoints: documents };
}

/** Places that checkpoints name, by replica and sequence; and the documents by number. */
async function readCheckpoints({ query }: Queries, keys: StateKeys, problem: Problem) {
  const places = new Map<string, Map<number, string>>();
  const documents = new Map<number, string>();
  let last: Checkpoint | undefined;
  let previous = noCheckpoint;
  for (const row of await query.selectFrom('record_checkpoints').selectAll().orderBy('number').execute()) {
    const name = `checkpoint ${row.number}`;
    if (!isSignedBy(keys.checkpointKey, row)) {
      problem('record.checkpoints', `${name} is not signed by this broker`);
      previous = documentHash(String(row.document));
      continue;
    }
    const checkpoint = readCheckpoint(row.document);
    if (checkpoint.number !== row.number || checkpoint.number !== (last?.number ?? 0) + 1) {
      problem(
        'record.checkpoints',
        `${name} follows ${last === undefined ? 'none' : `checkpoint ${last.number}`}`,
      );
    } else if (checkpoint.previous !== previous) {
      problem('record.checkpoints', `${name} does not follow the one before it`);
    }
    for (const { replica, sequence, hash } of checkpoint.heads) {
      const known = places.get(replica) ?? new Map<number, string>();
      places.set(replica, known.set(sequence, hash));
    }
    documents.set(row.number, row.document);
    last = checkpoint;
    previous = documentHash(row.document);
  }
  return { places, documents };
}
