import { checkTable } from '@vouchsafe/sev';

/** What a guest holds its init-data against. */
export const initDataChecks = checkTable({
  'init-data.host-data': {
    title: 'init-data is what HOST_DATA binds',
    protects: 'The host could hand the guest other settings, or another policy, than the owner’s.',
    hint: 'launch the guest with the digest of this init-data as host data: vouchsafe init-data digest',
    kind: 'expectation',
  },
});
