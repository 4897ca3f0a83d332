import { postgresPrograms } from '../postgres/cluster.js';
import { brokerSessions } from './broker-sessions.js';
import { chainVerification } from './chain.js';
import { imageInFolder, layerInMemory } from './image-layer.js';
import { keyUnwraps } from './key-unwraps.js';
import { launches } from './launch.js';
import { launchDigest } from './launch-digest.js';
import { encryptedLaunchUpdate } from './launch-update.js';
import type { Benchmark } from './measure.js';
import { sessionCreation } from './session.js';
import { snpDerivedKeys, snpReports } from './snp-guest-messages.js';
import { snpLaunches } from './snp-launch.js';
import { snpLaunchDigest } from './snp-launch-digest.js';
import { encryptedLaunchPages } from './snp-launch-pages.js';
import { coldReport, concurrentReports, warmReport } from './snp-report.js';

/** Every benchmark, in the order of a launch. Each is made when its turn comes. */
export const benchmarks: readonly { readonly name: string; make(): Promise<Omit<Benchmark, 'name'>> }[] = [
  { name: 'verify a platform chain', make: chainVerification },
  { name: 'create a launch session', make: sessionCreation },
  { name: 'launch digest of a 4 MiB image', make: launchDigest },
  { name: 'SNP launch digest of a 4 MiB image', make: snpLaunchDigest },
  { name: 'encrypted LAUNCH_UPDATE_DATA of 64 MiB', make: encryptedLaunchUpdate },
  { name: 'verify an SNP report, certificates verified before', make: warmReport },
  { name: 'verify an SNP report with its certificates', make: coldReport },
  { name: 'verify SNP reports, at once against one by one', make: concurrentReports },
  { name: 'launch, attest and provision 1 MiB', make: launches },
  { name: 'encrypt 256 MiB of SNP launch pages', make: encryptedLaunchPages },
  { name: 'launch an SNP guest', make: snpLaunches },
  { name: 'make an SNP report for a guest', make: snpReports },
  { name: 'derive a key for an SNP guest', make: snpDerivedKeys },
  { name: 'decrypt a layer of 64 MiB', make: layerInMemory },
  { name: 'decrypt an image of 64 MiB in a folder', make: imageInFolder },
  { name: 'unwrap a layer’s key in a warm session, broker on SQLite', make: keyUnwraps },
  { name: 'attest and get a secret, broker on SQLite', make: () => brokerSessions('sqlite') },
  ...(postgresPrograms() === undefined
    ? []
    : [{ name: 'attest and get a secret, broker on PostgreSQL', make: () => brokerSessions('postgres') }]),
];
