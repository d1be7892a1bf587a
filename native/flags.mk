# Flags shared by the fragments of native/Makefile.
CC       ?= cc
PYTHON   ?= ../.venv/bin/python
OUT      ?= build/host
CFLAGS   ?= -O2 -g
WARNINGS := -Wall -Wextra -Werror -Wconversion -Wno-sign-conversion -Wshadow
BASE     := -std=gnu11 -D_GNU_SOURCE $(WARNINGS) -fvisibility=hidden -fPIC -Iinclude -MMD -MP
LDLIBS   := -ldl -lpthread
