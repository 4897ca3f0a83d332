import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { expect, it } from 'vitest';

const folder = fileURLToPath(new URL('.', import.meta.url));

/** A decision by an optimised function that is given up in the middle of it, when Cedar asks for the question's JSON. */
const givenUp = `
  import { withCedar } from './engine.ts';
  const native = (name) => new Function('f', '%' + name + '(f)');
  withCedar((cedar) => {
    const ask = cedar.statefulIsAuthorized;
    const uid = (type) => ({ type, id: '1' });
    const question = (more = {}) => ({
      principal: uid('Guest'), action: uid('Action'), resource: uid('Resource'),
      context: {}, entities: [], preparsedPolicySetId: 'policies', ...more,
    });
    const staticPolicies = { one: 'permit (principal, action, resource);' };
    cedar.preparsePolicySet('policies', { staticPolicies });
    native('PrepareFunctionForOptimization')(ask);
    for (let i = 0; i < 20; i++) ask(question());
    native('OptimizeFunctionOnNextCall')(ask);
    ask(question());
    const giveUp = native('DeoptimizeFunction');
    const answer = ask(question({ toJSON() { giveUp(ask); return question(); } }));
    console.log(answer.response.decision);
  });
`;

it('Cedar answers an optimised caller that is given up during the call, and does not end the process', async () => {
  const { outputFiles } = await build({
    stdin: { contents: givenUp, resolveDir: folder, loader: 'js' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    conditions: ['vouchsafe-source'],
    external: ['@cedar-policy/*'],
  });
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ['--allow-natives-syntax', '--input-type=module', '--eval', outputFiles[0]!.text],
    { cwd: folder, encoding: 'utf8' },
  );
  expect([status, stdout, stderr]).toEqual([0, 'allow\n', '']);
});
