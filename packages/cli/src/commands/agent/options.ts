import { linuxSecretsFolder } from '@vouchsafe/guest';
import { flag, grouped, path, text, withDefault } from '../../frame/options.js';
import { keyBrokerOptions } from '../guest/secrets/broker-options.js';

const { initData, device, keyKind, ...trust } = keyBrokerOptions;

/** Where an agent has its keys and settings from. */
export const agentSourceOptions = {
  broker: text('--broker <url>', 'the owner’s key broker: https://HOST[:PORT], or http:// on this machine'),
  device,
  ...grouped('How the broker is known', { ...trust, keyKind }),
  ...grouped('Keys without a broker', {
    secretsFolder: withDefault(
      path(
        '--secrets-folder <dir>',
        'where the kernel shows injected secrets; the agent’s are read and wiped',
      ),
      linuxSecretsFolder,
    ),
    offlineKeys: path('--offline-keys <file>', 'JSON of keys by name, in the guest’s own image'),
    offlineResources: path('--offline-resources <file>', 'JSON of other secrets by name, likewise'),
  }),
  ...grouped('Settings of Confidential Containers', {
    settings: path('--settings <file>', 'the attestation agent’s settings (aa.toml)'),
    dataHubSettings: path('--data-hub-settings <file>', 'the data hub’s settings (cdh.toml, or JSON)'),
    initData: {
      ...initData,
      help: 'init-data (TOML): held against HOST_DATA, then its aa.toml and cdh.toml are the settings',
    },
    commandLine: withDefault(
      path('--kernel-command-line <file>', 'where agent.… parameters of the kernel are'),
      '/proc/cmdline',
    ),
    ignoreCommandLine: flag('--ignore-kernel-command-line', 'use no parameters of the kernel'),
  }),
};
