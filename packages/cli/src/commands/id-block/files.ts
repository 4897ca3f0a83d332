import { idAuthentication, idBlock } from '@vouchsafe/sev';
import { readEncoded } from '../../frame/files.js';
import type { Io } from '../../frame/io.js';

/** Reads an ID block: raw, hexadecimal or base64. */
export const readIdBlock = (path: string, io: Io) => readEncoded(path, 'ID block', io, [idBlock.size]);

/** Reads ID authentication information: raw, hexadecimal or base64. */
export const readIdAuthentication = (path: string, io: Io) =>
  readEncoded(path, 'ID authentication information', io, [idAuthentication.size]);
