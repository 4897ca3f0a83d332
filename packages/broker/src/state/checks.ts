import {
  type Appraisal,
  Appraiser,
  type CheckTable,
  checkTable,
  type Finding,
  RefusedError,
} from '@vouchsafe/sev';

/** What the broker asks of its own state before it believes it. */
export const stateChecks = checkTable({
  'state.master-key': {
    title: 'database sealed under this master key',
    protects: 'a broker could be given another database than its own, or begin a new one over the old',
    hint: 'give the master key that the database was made with',
    kind: 'authenticity',
  },
  'state.row': {
    title: 'row written by this broker',
    protects:
      'whoever can write to the database could raise limits, revive what was disabled, or swap secrets',
    hint: 'somebody changed the database by hand: restore a copy, and read the record for what happened since',
    kind: 'authenticity',
  },
  'state.rollback': {
    title: 'database as new as the outside checkpoint',
    protects: 'an old copy of the database would release one-time secrets again and forget what was revoked',
    hint: 'an old copy was restored: bring the newest one back, or accept the loss by moving the outside copy away',
    kind: 'authenticity',
  },
  'broker.clock': {
    title: 'clock not behind what the broker has seen',
    protects: 'a clock that is set back would let expired secrets, tokens and reference values live again',
    hint: 'set the clock right; if it once ran ahead: `vouchsafe broker serve --accept-clock`, which the record will say',
    kind: 'authenticity',
  },
});

export type StateCheck = keyof typeof stateChecks;

/** The state failed one check. @throws RefusedError always */
export function refuseState(subject: string, id: StateCheck, finding: Finding): never {
  throw new RefusedError(failedCheck(subject, id, finding));
}

function failedCheck(subject: string, id: StateCheck, finding: Finding): Appraisal {
  const table: CheckTable = { [id]: stateChecks[id] };
  const appraiser = new Appraiser(subject, table);
  appraiser.report(id, false, finding);
  return appraiser.finish();
}
