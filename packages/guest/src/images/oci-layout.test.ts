import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { InvalidArgumentError, MalformedError, UnavailableError } from '@vouchsafe/sev';
import { beforeEach, describe, expect, it } from 'vitest';
import { blobPath, makeOciImage, manifestOf } from '../testing/oci-image.js';
import { temporaryFolder } from '../testing/temporary.js';
import { OciLayout } from './oci-layout.js';

interface Entry {
  mediaType: string;
  digest: string;
  size: number;
  annotations?: Record<string, string>;
}

describe('an image layout', () => {
  let folder: string;
  let layout: OciLayout;
  beforeEach(async () => {
    folder = join(temporaryFolder(), 'layout');
    makeOciImage(folder, { layers: [new Uint8Array(1000)] });
    layout = await OciLayout.open(folder);
  });

  function editIndex(change: (entries: Entry[]) => void): void {
    const path = join(folder, 'index.json');
    const index = JSON.parse(readFileSync(path, 'utf8')) as { manifests: Entry[] };
    change(index.manifests);
    writeFileSync(path, JSON.stringify(index));
  }

  it('gives its only image, or the one of a name', async () => {
    const only = await layout.image();
    expect(only.name).toBe('latest');
    expect(await layout.image('latest')).toEqual(only);
  });

  it('chooses none of several', async () => {
    editIndex((entries) => {
      entries.push({ ...entries[0]!, annotations: { 'org.opencontainers.image.ref.name': 'other' } });
    });
    await expect(layout.image()).rejects.toThrow(/2 images/);
    expect((await layout.image('other')).name).toBe('other');
    await expect(layout.image('absent')).rejects.toThrow(InvalidArgumentError);
    editIndex((entries) => {
      entries.push(entries[0]!);
    });
    await expect(layout.image('latest')).rejects.toThrow(/2 images latest/);
  });

  it('has no image of several platforms', async () => {
    editIndex(([entry]) => {
      entry!.mediaType = 'application/vnd.oci.image.index.v1+json';
    });
    await expect(layout.image()).rejects.toMatchObject({ hint: expect.stringContaining('one platform') });
  });

  it('whose manifest has another length than the index says is not read', async () => {
    editIndex(([entry]) => {
      entry!.size -= 1;
    });
    await expect(layout.image()).rejects.toThrow(MalformedError);
  });

  it('gives a blob that is what its descriptor says, and no other', async () => {
    const { mediaType, digest, size: length } = manifestOf(folder).config;
    const config = { mediaType, digest, size: length };
    const copyOf = async (descriptor: Pick<Entry, 'mediaType' | 'digest' | 'size'>) => {
      const to = join(temporaryFolder(), 'to');
      await (await OciLayout.create(to)).copyBlob(layout, descriptor);
      return readFileSync(blobPath(to, descriptor.digest));
    };
    const bytes = readFileSync(blobPath(folder, config.digest));
    expect(await copyOf(config)).toEqual(bytes);
    for (const size of [config.size - 1, config.size + 1])
      await expect(copyOf({ ...config, size })).rejects.toThrow(MalformedError);
    bytes[0]! ^= 1;
    writeFileSync(blobPath(folder, config.digest), bytes);
    await expect(copyOf(config)).rejects.toThrow(MalformedError);
  });

  it('says which blob is missing', async () => {
    const digest = `sha256:${'0'.repeat(64)}`;
    await expect(layout.pieces(digest).next()).rejects.toThrow(UnavailableError);
    await expect(layout.pieces(digest).next()).rejects.toThrow(/0000 *: the system answered ENOENT/);
  });
});
