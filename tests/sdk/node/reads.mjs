// Zoho's own Node SDK as a client: node reads.mjs ADDRESS SCRATCH STEP[=ARGUMENT]...
//
// Each step reads something and prints its name and what was read, as JSON. Nothing is changed for
// the mirror but the environment: README shows the same lines.

import { join } from "node:path";
import { DataCenter } from "@zohocrm/nodejs-sdk-8.0";
import * as ZOHOCRMSDK from "@zohocrm/nodejs-sdk-8.0";

const { Choice, FileStore, HeaderMap, InitializeBuilder, Levels, LogBuilder } = ZOHOCRMSDK;
const { OAuthBuilder, ParameterMap, Fields, Modules, Org, Record, Users } = ZOHOCRMSDK;

const MODULE = "Leads";

async function start(mirror, scratch) {
    const environment = DataCenter.setEnvironment(mirror, mirror + "/oauth/v2/token", mirror);
    const refreshToken = process.env.READER_TOKEN ?? "1000.whatever";
    const token = new OAuthBuilder().clientId("1000.A").clientSecret("B").refreshToken(refreshToken).build();

    const logger = new LogBuilder().level(Levels.INFO).filePath(join(scratch, "node.log")).build();
    const builder = await new InitializeBuilder();
    builder.environment(environment).token(token).resourcePath(scratch).logger(logger);
    await builder.store(new FileStore(join(scratch, "tokens.csv"))).initialize();
}

async function parameters(...pairs) {
    const given = new ParameterMap();
    for (const [key, value] of pairs) {
        await given.add(key, value);
    }
    return given;
}

// What the SDK made of a reply; null for 204.
function content(response) {
    if ([204, 304].includes(response.getStatusCode())) {
        return null;
    }
    if (response.getStatusCode() !== 200) {
        throw new Error(`${response.getStatusCode()} ${response.getObject().getCode().getValue()}`);
    }
    return response.getObject();
}

const ids = (found) => found.getData().map((one) => String(one.getId()));
const records = () => new Record.RecordOperations(MODULE);

async function record(id) {
    const found = content(await records().getRecord(BigInt(id)));
    if (found === null) {
        return null;
    }
    const texts = [...found.getData()[0].getKeyValues()].filter(([, value]) => typeof value === "string");
    return { id, ...Object.fromEntries(texts) };
}

async function list() {
    const { FIELDS, PAGE, PAGE_TOKEN } = Record.GetRecordsParam;
    const all = [];
    let place = [PAGE, 1];
    for (let page = 1; ; page += 1) {
        const asked = await parameters([FIELDS, "Last_Name"], place);
        const found = content(await records().getRecords(asked, new HeaderMap()));
        if (found === null) {
            return all;
        }
        all.push(...ids(found));
        if (!found.getInfo().getMoreRecords()) {
            return all;
        }
        // By number first, then by token: an app may do either.
        place = page > 1 ? [PAGE_TOKEN, found.getInfo().getNextPageToken()] : [PAGE, page + 1];
    }
}

async function search(parameter, value) {
    const found = content(await records().searchRecords(await parameters([parameter, value]), new HeaderMap()));
    return found === null ? [] : ids(found);
}

async function deleted() {
    const asked = await parameters([Record.GetDeletedRecordsParam.TYPE, "all"]);
    const found = content(await records().getDeletedRecords(asked, new HeaderMap()));
    return found === null ? [] : ids(found);
}

async function user() {
    const asked = await parameters([Users.GetUsersParam.TYPE, new Choice("CurrentUser")]);
    const found = content(await new Users.UsersOperations().getUsers(asked, new HeaderMap()));
    return found.getUsers()[0].getEmail();
}

const names = (list) => list.map((one) => one.getAPIName());

const STEPS = {
    record,
    list,
    criteria: (text) => search(Record.SearchRecordsParam.CRITERIA, text),
    email: (text) => search(Record.SearchRecordsParam.EMAIL, text),
    deleted,
    count: async () => Number(content(await records().recordCount()).getCount()),
    modules: async () => names(content(await new Modules.ModulesOperations().getModules()).getModules()),
    module: async (name) =>
        names(content(await new Modules.ModulesOperations().getModuleByAPIName(name)).getModules()),
    fields: async () => {
        const asked = await parameters([Fields.GetFieldsParam.MODULE, MODULE]);
        return names(content(await new Fields.FieldsOperations().getFields(asked)).getFields());
    },
    org: async () => content(await new Org.OrgOperations().getOrganization()).getOrg()[0].getCompanyName(),
    user,
};

const [mirror, scratch, ...steps] = process.argv.slice(2);
await start(mirror, scratch);
let failed = 0;
for (const step of steps) {
    const [name, ...rest] = step.split("=");
    try {
        const read = rest.length > 0 ? STEPS[name](rest.join("=")) : STEPS[name]();
        console.log(name, JSON.stringify(await read));
    } catch (error) {
        failed += 1;
        console.log(name, "failed:", String(error?.message || error).replace(/\s+/g, " "), error?.code ?? "");
    }
}
process.exit(failed > 0 ? 1 : 0);
