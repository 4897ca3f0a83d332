import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { InvalidArgumentError, MalformedError } from '@vouchsafe/sev';
import { describe, expect, it } from 'vitest';
import { describeWithVectors, vectors } from '../../../../sev/src/testing/vectors.js';
import { connectKeyBroker } from '../../broker/broker-client.js';
import { resourcesOf } from '../../testing/agent-fixture.js';
import { temporaryFolder } from '../../testing/temporary.js';
import { agentPaths } from '../agent.js';
import { imagePolicy } from '../image-policy/policy.js';
import { parseAttestationAgentSettings } from './attestation-agent.js';
import { fetchCredentials } from './credentials.js';
import { parseDataHubSettings } from './data-hub.js';
import { parseAgentKernelParameters, parseKeyBrokerParameters } from './kernel-command-line.js';

const sample = (name: string) => new TextDecoder().decode(vectors(`kbs/${name}`));

describeWithVectors('the samples of settings', () => {
  it.each([
    ['config1.toml', { kbs: 'https://127.0.0.1:8080', cert: 'cert', coco_as: 'http://127.0.0.1:8000' }],
    ['config2.toml', { kbs: 'https://127.0.0.1:8080', cert: 'cert', coco_as: undefined }],
    ['config3.toml', { kbs: 'https://127.0.0.1:8080', cert: undefined, coco_as: 'http://127.0.0.1:8000' }],
  ])('of the attestation agent: %s', (name, expected) => {
    const { token_configs: tokens, eventlog_config: log } = parseAttestationAgentSettings(
      sample(`aa-config/${name}`),
    );
    expect({ kbs: tokens?.kbs?.url, cert: tokens?.kbs?.cert, coco_as: tokens?.coco_as?.url }).toEqual(
      expected,
    );
    expect(log).toEqual({ init_pcr: 17, enable_eventlog: false });
  });

  it('of the data hub: its broker, its credentials and its policy, which allows nothing', () => {
    const { kbc, credentials, image } = parseDataHubSettings(sample('cdh-config/example.config.json'));
    expect([kbc?.name, kbc?.url]).toEqual(['cc_kbc', 'http://example.io:8080']);
    expect(kbc?.kbs_cert).toMatch(/^-----BEGIN CERTIFICATE-----/);
    expect(credentials).toHaveLength(2);
    expect(image?.image_security_policy_uri).toBe('kbs:///default/security-policy/test');
    expect(imagePolicy.parseText(image!.image_security_policy!).default).toEqual([{ type: 'reject' }]);
  });

  it('of image tools name the key provider by the socket at which this agent serves one', () => {
    const { 'key-providers': providers } = JSON.parse(sample('image/cdh-ocicrypt_config.json')) as {
      'key-providers': Record<string, unknown>;
    };
    expect(providers).toEqual({ 'attestation-agent': { ttrpc: `unix://${agentPaths.dataHubSocket}` } });
  });

  it('of the data hub names a broker over plain HTTP, which this guest asks nothing', () => {
    const { kbc } = parseDataHubSettings(sample('cdh-config/example.config.json'));
    const connect = () =>
      connectKeyBroker({
        address: kbc!.url!,
        device: { report: async () => ({ report: new Uint8Array() }) },
        now: () => 0,
        pause: async () => undefined,
      });
    expect(connect).toThrow(/plain HTTP to example.io/);
  });
});

describe('settings', () => {
  it.each(['', '{}', '[log]\nlevel = "debug"'])('%j say nothing', (text) => {
    expect(parseAttestationAgentSettings(text).token_configs).toBeUndefined();
    expect(parseDataHubSettings(text).kbc).toBeUndefined();
  });
  it.each([
    '[token_configs',
    '{"token_configs":1}',
    '{"a":1,"a":2}',
    '[token_configs.kbs]',
    'eventlog_config = { enable_eventlog = "yes" }',
  ])('%j are refused, and not repeated', (text) => {
    expect(() => parseAttestationAgentSettings(text)).toThrow(MalformedError);
  });
  it.each([
    '/etc/shadow',
    '/run/confidential-containers/cdh/kbs/../x',
    '/run/confidential-containers/cdh/kbs/',
    '/run/confidential-containers/cdh/kbsx/y',
    'relative',
    '/run/confidential-containers/cdh/kbs/a//b',
  ])('that want a credential at %s are refused', (path) => {
    const text = JSON.stringify({ credentials: [{ path, resource_uri: 'kbs:///a/b/c' }] });
    expect(() => parseDataHubSettings(text)).toThrow(/below/);
  });
  it.each(['cc_kbc2', 'online_sev_kbc'])('of the client %s are refused', (name) =>
    expect(() => parseDataHubSettings(JSON.stringify({ kbc: { name } }))).toThrow(MalformedError),
  );
});

it('credentials are files of their owner alone; a missing one is a failure', async () => {
  const folder = temporaryFolder();
  const { credentials } = parseDataHubSettings(
    JSON.stringify({
      credentials: [{ path: '/run/confidential-containers/cdh/kbs/a/b.json', resource_uri: 'kbs:///a/b/c' }],
    }),
  );
  expect(await fetchCredentials(credentials!, resourcesOf({ 'a/b/c': 'a credential' }), folder)).toEqual([
    join(folder, 'a/b.json'),
  ]);
  expect(readFileSync(join(folder, 'a/b.json'), 'utf8')).toBe('a credential');
  expect(statSync(join(folder, 'a/b.json')).mode & 0o777).toBe(0o600);
  await expect(fetchCredentials(credentials!, resourcesOf({}), folder)).rejects.toThrow(/none of the name/);
});

describe('the kernel’s parameters', () => {
  it('name broker, policy and what HTTP offers; others are not ours', () => {
    const line =
      'console=ttyS0 agent.aa_kbc_params=cc_kbc::https://broker.example:8080 agent.guest_components_rest_api=all ' +
      'agent.image_policy_file=kbs:///default/security-policy/test agent.enable_signature_verification=false agent.log=debug\n';
    expect(parseAgentKernelParameters(line)).toEqual({
      keyBroker: { client: 'cc_kbc', address: 'https://broker.example:8080' },
      restFeatures: 'all',
      imagePolicy: 'kbs:///default/security-policy/test',
    });
    expect(parseAgentKernelParameters('quiet')).toEqual({});
    expect(parseKeyBrokerParameters('offline_sev_kbc::null')).toEqual({
      client: 'offline_sev_kbc',
      address: '',
    });
  });
  it.each([
    'agent.aa_kbc_params=cc_kbc::https://a agent.aa_kbc_params=cc_kbc::https://b',
    'agent.aa_kbc_params=cc_kbc',
    'agent.aa_kbc_params=cc_kbc::a::b',
    'agent.aa_kbc_params=online_sev_kbc::10.0.0.1:44444',
    'agent.aa_kbc_params=eaa_kbc::x',
    'agent.guest_components_rest_api=everything',
  ])('%s are refused', (line) =>
    expect(() => parseAgentKernelParameters(line)).toThrow(InvalidArgumentError),
  );
});
