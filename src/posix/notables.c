/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables that do not exist here: services, hosts, networks. Every one is empty. */
#include <netdb.h>

struct servent *getservbyname(const char *name, const char *proto)
{
	(void)name;
	(void)proto;
	return NULL;
}

struct servent *getservbyport(int port, const char *proto)
{
	(void)port;
	(void)proto;
	return NULL;
}

struct servent *getservent(void)
{
	return NULL;
}

void setservent(int stayopen)
{
	(void)stayopen;
}

void endservent(void)
{
}

struct hostent *gethostent(void)
{
	return NULL;
}

void sethostent(int stayopen)
{
	(void)stayopen;
}

void endhostent(void)
{
}

struct netent *getnetbyaddr(uint32_t net, int type)
{
	(void)net;
	(void)type;
	return NULL;
}

struct netent *getnetbyname(const char *name)
{
	(void)name;
	return NULL;
}

struct netent *getnetent(void)
{
	return NULL;
}

void setnetent(int stayopen)
{
	(void)stayopen;
}

void endnetent(void)
{
}
