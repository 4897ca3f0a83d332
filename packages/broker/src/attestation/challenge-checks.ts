import { checkTable } from '@vouchsafe/sev';

/** What an answer to a challenge is held against before its evidence is looked at. */
export const challengeChecks = checkTable({
  'challenge.unexpired': {
    title: 'challenge has not expired',
    protects: 'A guest that was good once could answer long after.',
    hint: 'ask for a new challenge and answer it at once',
    kind: 'authenticity',
  },
  'challenge.unused': {
    title: 'challenge has not been answered otherwise',
    protects:
      'Whoever holds the cookie could put other evidence, with another key, in the place of the guest’s.',
    hint: 'ask for a new challenge; only the very same answer may come again',
    kind: 'authenticity',
  },
  'challenge.nonce': {
    title: 'answer is to this challenge',
    protects: 'An answer to an old challenge, or to another guest’s, could be replayed.',
    hint: 'answer with the nonce of this session',
    kind: 'authenticity',
  },
  'evidence.devices': {
    title: 'evidence is of the processor alone',
    protects: 'Evidence of devices that nobody appraised could be taken for appraised.',
    hint: 'this broker appraises no devices: have the guest attest without them',
    kind: 'authenticity',
  },
});
