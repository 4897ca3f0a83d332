import { readSnpSections, snpFirmware } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { snpImage, usualSections } from '../../../packages/sev/src/testing/snp-image.js';
import { mutatedInputs, timeoutMs } from './amount.js';
import { fuzz, type Parser } from './run.js';

const descriptorWords = 3;

/** What a SEV-SNP launch reads from firmware: the image as a whole, and its section descriptors by themselves. */
const readers: Parser[] = [
  { name: 'snpFirmware', seeds: [snpImage(), snpImage({ sections: [] })], parse: snpFirmware },
  {
    name: 'readSnpSections',
    seeds: [new Uint8Array(Uint32Array.from(usualSections.flat()).buffer)],
    parse(bytes) {
      const words = new Uint32Array(bytes.slice(0, bytes.length & ~3).buffer);
      const sections = Array.from({ length: Math.floor(words.length / descriptorWords) }, (_, i) => {
        const [gpa = 0, size = 0, type = 0] = words.subarray(i * descriptorWords, (i + 1) * descriptorWords);
        return { gpa, size, type };
      });
      readSnpSections({ offset: 0, sections }, [{ name: 'the firmware', gpa: 0xffff_f000, size: 0x1000 }]);
    },
  },
];

describe(`${mutatedInputs} mutated inputs: no crash, no hang, typed errors only`, () => {
  it.each(readers.map((reader) => [reader.name, reader] as const))(
    '%s',
    { timeout: timeoutMs },
    async (_name, reader) => {
      const { accepted, refused } = await fuzz(reader, mutatedInputs);
      expect(accepted).toBeGreaterThan(0);
      expect(refused).toBeGreaterThan(0);
    },
  );
});
