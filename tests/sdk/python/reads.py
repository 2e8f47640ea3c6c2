"""Zoho's own Python SDK as a client: python reads.py ADDRESS SCRATCH STEP[=ARGUMENT]...

Each step reads something and prints its name and what was read, as JSON. Nothing is changed for
the mirror but the environment: README shows the same lines.
"""

import json
import os
import sys

from zohocrmsdk.src.com.zoho.api.authenticator.oauth_token import OAuthToken
from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore
from zohocrmsdk.src.com.zoho.api.logger import Logger
from zohocrmsdk.src.com.zoho.crm.api import HeaderMap, Initializer, ParameterMap
from zohocrmsdk.src.com.zoho.crm.api.dc import DataCenter
from zohocrmsdk.src.com.zoho.crm.api.fields import FieldsOperations, GetFieldsParam
from zohocrmsdk.src.com.zoho.crm.api.modules import ModulesOperations
from zohocrmsdk.src.com.zoho.crm.api.org import OrgOperations
from zohocrmsdk.src.com.zoho.crm.api.record import (
    GetDeletedRecordsParam,
    GetRecordsParam,
    RecordOperations,
    SearchRecordsParam,
)
from zohocrmsdk.src.com.zoho.crm.api.users import GetUsersParam, UsersOperations

MODULE = "Leads"


def start(mirror, scratch):
    environment = DataCenter.Environment(mirror, mirror + "/oauth/v2/token", mirror)
    refresh_token = os.environ.get("READER_TOKEN", "1000.whatever")
    token = OAuthToken(client_id="1000.A", client_secret="B", refresh_token=refresh_token)

    Initializer.initialize(
        environment=environment,
        token=token,
        store=FileStore(os.path.join(scratch, "tokens.csv")),
        resource_path=scratch,
        logger=Logger.get_instance(Logger.Levels.INFO, os.path.join(scratch, "python.log")),
    )


def parameters(*pairs):
    given = ParameterMap()
    for key, value in pairs:
        given.add(key, value)
    return given


def content(response):
    """What the SDK made of a reply; None for 204."""
    if response.get_status_code() in (204, 304):
        return None
    answer = response.get_object()
    if response.get_status_code() != 200:
        raise RuntimeError(f"{response.get_status_code()} {answer.get_code().get_value()}")
    return answer


def record(id):
    found = content(RecordOperations(MODULE).get_record(int(id)))
    if found is None:
        return None
    return {"id": str(found.get_data()[0].get_id()), **texts(found.get_data()[0])}


def texts(one):
    return {key: value for key, value in one.get_key_values().items() if isinstance(value, str)}


def listed():
    ids, page, token = [], 1, None
    while True:
        place = (GetRecordsParam.page, page) if token is None else (GetRecordsParam.page_token, token)
        asked = parameters((GetRecordsParam.fields, "Last_Name"), place)
        found = content(RecordOperations(MODULE).get_records(asked, HeaderMap()))
        if found is None:
            return ids
        ids += [str(one.get_id()) for one in found.get_data()]
        if not found.get_info().get_more_records():
            return ids
        # By number first, then by token: an app may do either.
        page, token = page + 1, found.get_info().get_next_page_token() if page > 1 else None


def searched(parameter, value):
    found = content(RecordOperations(MODULE).search_records(parameters((parameter, value)), HeaderMap()))
    return [] if found is None else [str(one.get_id()) for one in found.get_data()]


def deleted():
    asked = parameters((GetDeletedRecordsParam.type, "all"))
    found = content(RecordOperations(MODULE).get_deleted_records(asked, HeaderMap()))
    return [] if found is None else [str(one.get_id()) for one in found.get_data()]


def count():
    return content(RecordOperations(MODULE).record_count()).get_count()


def modules():
    found = content(ModulesOperations().get_modules(ParameterMap(), HeaderMap()))
    return [one.get_api_name() for one in found.get_modules()]


def module(name):
    found = content(ModulesOperations().get_module_by_api_name(name))
    return [one.get_api_name() for one in found.get_modules()]


def fields():
    found = content(FieldsOperations().get_fields(parameters((GetFieldsParam.module, MODULE))))
    return [one.get_api_name() for one in found.get_fields()]


def org():
    return content(OrgOperations().get_organization()).get_org()[0].get_company_name()


def user():
    asked = parameters((GetUsersParam.type, "CurrentUser"))
    found = content(UsersOperations().get_users(asked, HeaderMap()))
    return found.get_users()[0].get_email()


STEPS = {
    "record": record,
    "list": listed,
    "criteria": lambda text: searched(SearchRecordsParam.criteria, text),
    "email": lambda text: searched(SearchRecordsParam.email, text),
    "deleted": deleted,
    "count": count,
    "modules": modules,
    "module": module,
    "fields": fields,
    "org": org,
    "user": user,
}


def main():
    _, mirror, scratch, *steps = sys.argv
    start(mirror, scratch)
    failed = 0
    for step in steps:
        name, *argument = step.split("=", 1)
        try:
            print(name, json.dumps(STEPS[name](*argument)), flush=True)
        except Exception as error:
            failed += 1
            print(name, "failed:", " ".join(str(error).split()), flush=True)
    sys.exit(1 if failed else 0)


main()
