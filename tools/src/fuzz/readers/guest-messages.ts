import * as sev from '@vouchsafe/sev';
import { SeededRandom } from '../mutate.js';
import type { Parser } from '../run.js';

const entry = (eaxIn: number): sev.CpuidEntry => ({
  eaxIn,
  ecxIn: 0,
  xcr0In: 1n,
  xssIn: 0n,
  eax: 0x10,
  ebx: 0x6874_7541,
  ecx: 0x444d_4163,
  edx: 0x6974_6e65,
});

/** What a SEV-SNP guest, its host and the firmware say to each other. */
export function guestMessageReaders(): Parser[] {
  const entries = [entry(0), entry(1), entry(0x8000_0000)];
  const change = sev.buildPageStateChange({
    current: 0,
    entries: [
      { currentPage: 0, address: 0x1000, operation: 'PRIVATE', large: false },
      { currentPage: 0, address: 0x20_0000, operation: 'SHARED', large: true },
    ],
  });
  const key = sev.Secret.take(new SeededRandom(9).bytes(32));
  const header = {
    authTag: new Uint8Array(16),
    sequence: 1n,
    type: 'REPORT_REQ',
    size: 4,
    vmpck: 0,
  } as const;
  const page = new Uint8Array(sev.guestMessageSize);
  page.set(sev.guestMessageHeader.build(header));
  return [
    { name: 'parseCpuidPage', seeds: [sev.buildCpuidPage(entries)], parse: sev.parseCpuidPage },
    { name: 'parseCpuidRequest', seeds: [sev.buildCpuidRequest(entries)], parse: sev.parseCpuidRequest },
    {
      name: 'parseCpuidResponse',
      seeds: [sev.buildCpuidResponse({ status: 0, entries })],
      parse: sev.parseCpuidResponse,
    },
    { name: 'parsePageStateChange', seeds: [change], parse: sev.parsePageStateChange },
    {
      name: 'takeSecretsPage',
      seeds: [new Uint8Array(sev.secretsPage.size)],
      parse: (bytes) => sev.takeSecretsPage(bytes.slice()),
    },
    {
      // No mutation makes a tag that fits: what is accepted is that it was refused for nothing else.
      name: 'openGuestMessage',
      seeds: [page],
      parse: (bytes) =>
        sev.openGuestMessage({ key, vmpck: 0, sequence: 1n, bytes }).catch((error: unknown) => {
          if (!(error instanceof sev.GuestMessageTagError)) throw error;
        }),
    },
  ];
}
