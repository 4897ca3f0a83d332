import { open, writeFile } from 'node:fs/promises';
import { formatDemoLuks, hasCryptsetup, sealStandInVolume } from '@vouchsafe/guest';
import { Secret, systemRandom, toHex } from '@vouchsafe/sev';

/** 64 characters, so that it can be typed as well. */
export function drawDiskKey(): Secret {
  return Secret.take(new TextEncoder().encode(toHex(systemRandom(32))));
}

/** Makes the owner's encrypted disk. @returns what it is, for people */
export async function makeDisk(path: string, key: Secret): Promise<string> {
  if (await hasCryptsetup()) {
    const file = await open(path, 'wx', 0o600);
    await file.truncate(32 * 1024 * 1024);
    await file.close();
    await formatDemoLuks({ volume: path, key });
    return 'a LUKS2 volume of 32 MiB with cryptsetup';
  }
  const content = new TextEncoder().encode('The demo’s disk says hello.\n');
  await writeFile(path, sealStandInVolume({ content, key, random: systemRandom }), {
    mode: 0o600,
    flag: 'wx',
  });
  return 'a stand-in for a disk (cryptsetup is not installed)';
}
