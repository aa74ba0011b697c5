// Bundles a function's folder with the esbuild that is installed there. Run by node, in the folder; prints one JSON
// object: {missing}, or {findings}, or {findings, code, map, files}.
'use strict';

const { readFileSync } = require('node:fs');
const { builtinModules } = require('node:module');
const path = require('node:path');

const { entry, append, handlers } = JSON.parse(process.argv[1]);

/** What functions find as globals, for code that asks for it as modules. */
const GLOBALS = {
  crypto: 'module.exports = globalThis.crypto;',
  process: 'module.exports = globalThis.process;',
  buffer: 'module.exports = { Buffer, Blob, File, atob, btoa };',
  url: 'module.exports = { URL, URLSearchParams };',
  timers: 'module.exports = { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate, clearImmediate };',
  'node-fetch': 'const own = (...all) => fetch(...all); module.exports = Object.assign(own, fetch, { __esModule: true, default: own, fetch: own, Headers, Request, Response });',
};
GLOBALS['cross-fetch'] = GLOBALS['node-fetch'];

const LOADERS = { '.ts': 'ts', '.mts': 'ts', '.js': 'js', '.mjs': 'js' };

/** The entry with its handlers exported, and modules that are globals here. */
const ours = {
  name: 'tidegate',
  setup(build) {
    const whole = path.resolve(entry);
    const names = new RegExp(`^(node:)?(${Object.keys(GLOBALS).join('|')})$`);
    build.onResolve({ filter: names }, (asked) => ({ path: asked.path.replace('node:', ''), namespace: 'tidegate' }));
    build.onLoad({ filter: /./, namespace: 'tidegate' }, (asked) => ({ contents: GLOBALS[asked.path], loader: 'js' }));
    build.onLoad({ filter: /handler\.m?[jt]s$/ }, (asked) =>
      asked.path === whole ? { contents: readFileSync(whole, 'utf8') + append, loader: LOADERS[path.extname(whole)] } : undefined,
    );
  },
};

/** Gives the engine what the entry exports, by itself or in its default export. */
const footer = `(function (all) {
  for (const name of ${JSON.stringify(handlers)}) {
    const owner = [all, all && all.default].find((one) => one && typeof one[name] === 'function');
    if (owner) globalThis[name] = owner === all ? owner[name] : owner[name].bind(owner);
  }
})(tidegateBundle);`;

const finding = (severity) => ({ text, location }) => {
  const line = Buffer.from(location?.lineText ?? '');
  const marked = line.subarray(location?.column ?? 0, (location?.column ?? 0) + (location?.length ?? 0)).toString();
  const nodes = builtinModules.includes(marked.replace(/["']|node:/g, ''));
  const hint = nodes ? ': it is one of Node, which functions do not run in' : '';
  const column = [...line.subarray(0, location?.column ?? 0).toString()].length + 1;
  return { file: location?.file ?? entry, line: location?.line ?? 1, column, severity, message: text + hint };
};

const print = (answer) => process.stdout.write(JSON.stringify(answer));

let esbuild;
try {
  esbuild = require(require.resolve('esbuild', { paths: [process.cwd()] }));
} catch (error) {
  print({ missing: String(error.message).split('\n')[0] });
}
esbuild
  ?.build({
    entryPoints: [entry],
    absWorkingDir: process.cwd(),
    bundle: true,
    write: false,
    outfile: 'tidegate-built.js',
    format: 'iife',
    globalName: 'tidegateBundle',
    // Packages have a form for where there is no Node. There is none here either.
    platform: 'browser',
    conditions: ['worker'],
    target: 'es2023',
    supported: { 'top-level-await': false },
    define: { 'process.env.NODE_ENV': '"production"' },
    sourcemap: 'external',
    sourcesContent: false,
    metafile: true,
    legalComments: 'none',
    logLevel: 'silent',
    footer: { js: footer },
    plugins: [ours],
  })
  .then(
    ({ outputFiles, metafile, warnings }) => {
      const text = (ending) => outputFiles.find((file) => file.path.endsWith(ending))?.text;
      print({
        findings: warnings.map(finding('warning')),
        code: text('.js'),
        map: text('.map'),
        files: Object.keys(metafile.inputs).filter((name) => !name.startsWith('tidegate:')),
      });
    },
    (error) => {
      if (!error.errors) throw error;
      print({ findings: [...error.errors.map(finding('error')), ...error.warnings.map(finding('warning'))] });
    },
  );
