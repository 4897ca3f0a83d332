import { linuxSecretsFolder } from '@vouchsafe/guest';
import { path, withDefault } from '../../../frame/options.js';

export const secretsFolder = withDefault(
  path('--folder <dir>', 'where the secrets are, one file for each'),
  linuxSecretsFolder,
);
