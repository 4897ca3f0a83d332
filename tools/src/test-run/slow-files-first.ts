import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Begins with the files that take longest, so that no worker is left with one of them when the others are done. A clean
 * clone has no durations of an earlier run to sort by.
 */
const slowFiles = [
  'initrd/real-guest',
  'fuzz/readers',
  'cli/src/key-broker',
  'cli/src/broker-page',
  'cli/src/coming-from',
  'broker-load/killed',
  'attacks/attacks',
  'fuzz/structures',
  'snp/bit-flips',
  'attestation/guests',
  'attestation/fault-points',
  'attestation/replicas',
  'page/page',
  'snp/real-endorsements',
  'record/tampering',
  'legacy/naples-chain',
  'image/skopeo',
].map((name) => `${name}.test.ts`);

export class SlowFilesFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = slowFiles.findIndex((name) => moduleId.endsWith(`/${name}`));
      return at < 0 ? slowFiles.length : at;
    };
    const isolated = ({ project }: TestSpecification) => Number(project.config.isolate);
    const sorted = await super.sort(files);
    return sorted.sort((a, b) => isolated(b) - isolated(a) || rank(a) - rank(b));
  }
}
