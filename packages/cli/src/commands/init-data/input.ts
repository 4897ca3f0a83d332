import { isInitDataDisk, parseInitDataAnnotation, parseInitDataDisk } from '@vouchsafe/protocol';
import { InvalidArgumentError } from '@vouchsafe/sev';
import { printableText, readInput } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';

export type InitDataForm = 'toml' | 'annotation' | 'disk';

/** Init-data from a file in any of its forms: the document itself, a pod's annotation, or a disk. */
export async function readInitData(file: string, io: Io): Promise<{ toml: string; form: InitDataForm }> {
  const content = await readInput(file, 'init-data', io);
  if (isInitDataDisk(content)) return { toml: await parseInitDataDisk(content), form: 'disk' };
  const text = printableText(content)?.trim();
  // Base64 of what gzip begins with. No TOML document is one word without an equals sign.
  if (text !== undefined && /^H4sI[A-Za-z0-9+/]*=*$/.test(text))
    return { toml: await parseInitDataAnnotation(text), form: 'annotation' };
  try {
    const toml = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
    return { toml, form: 'toml' };
  } catch {
    throw new InvalidArgumentError('init-data', `${file} is not text`);
  }
}
