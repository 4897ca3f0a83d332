import { join } from 'node:path';
import { configurationFile } from '@vouchsafe/broker/documents';
import { path, text, withDefault } from '../../frame/options.js';

/** Where a broker's set-up is unless told otherwise. */
export const usualFolder = join('.vouchsafe', 'broker');

/** The files of a broker's folder. */
export function filesIn(folder: string) {
  return {
    configuration: join(folder, configurationFile),
    masterKey: join(folder, 'master.key'),
    /** The first administrator's token. */
    token: join(folder, 'admin.token'),
    /** Signs reference values; belongs where images are built. */
    issuerKey: join(folder, 'reference-issuer.jwk'),
    /** Where the broker answers while it runs. */
    address: join(folder, 'address'),
    root: join(folder, 'root.der'),
    platformRoot: join(folder, 'platform-root.cert'),
  };
}

export const dataOption = {
  data: withDefault(path('--data <dir>', 'folder of the broker'), usualFolder),
};

/** For command lines that are suggested: the option, unless the folder is the usual one. */
export const moreData = (folder: string): string => (folder === usualFolder ? '' : ` --data ${folder}`);

/** Options of the commands that ask a running broker. */
export const clientOptions = {
  ...dataOption,
  broker: text('--broker <url>', 'address of the broker (default: the one in the folder)'),
  token: path('--token <file>', 'file with an administrator’s token (default: the one in the folder)'),
  ca: path('--ca <file>', 'certificate authority of the broker’s own certificate, PEM'),
};
